package import Foundations
package import Versioning

/// An inode of a working tree as its index keeps it.
///
///     field  content
///     1      kind, as the tree numbers them
///     2-4    permission bits, owner, group; each plus one, absent for what the entry or the default says
///     5      device number
///     6-8    times: modified, accessed, changed
///     9      target of a symbolic link
///     10     extended attributes: name, value
///     11-12  working file, and the address of the object that it becomes
///     13-14  size plus one and time of the working file when it was last closed
///     15     the entry that it stands on
///     16-17  whether the paths that the branch has it under are listed; the paths
///     20-21  whether the branch is yet to have it; whether it has what was closed last
///     22-25  a working file that was closed while another is written: its name, address, size plus one, time
///     26     when something last came into a folder, or went
///     27     paths that a publish was about to give it on the branch
///     28     whether the branch may not have the entry
///     29     the entry that the branch had before
///     18-19  where what nobody changed of a folder lies: 0 where its name says, 1 nowhere, 2 under the path that follows
package struct NodeRow: Sendable, Equatable {
    package struct ExtendedAttribute: Sendable, Equatable {
        package let name: Key, value: [UInt8]
        package init(name: Key, value: [UInt8]) {
            self.name = name
            self.value = value
        }
    }

    package var kind: UInt8 = 0
    package var mode: UInt32?, owner: UInt32?, group: UInt32?
    package var device: UInt64 = 0
    package var modified: Timestamp?, accessed: Timestamp?, changed: Timestamp?
    package var target: [UInt8]?
    package var extended: [ExtendedAttribute] = []
    package var file = "", address = ""
    package var closedSize: Int64?, closedTime: Timestamp?
    package var entry: Entry?, replaced: Entry?
    /// Nil where the node's name says it.
    package var published: [Key]?
    package var baseKind: UInt8 = 0
    package var base = Key([])
    package var wholeFile = "", wholeAddress = "", wholeSize: Int64?, wholeTime: Timestamp?
    package var planned: [Key] = []
    package var filled: Timestamp?
    package var isEntryNew = false
    package var isDirty = false, isClosePublished = false

    package init() {}

    init(decoding bytes: [UInt8]) throws {
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: kind = UInt8(truncatingIfNeeded: field.integer)
            case 2: mode = UInt32(truncatingIfNeeded: field.signed - 1)
            case 3: owner = UInt32(truncatingIfNeeded: field.signed - 1)
            case 4: group = UInt32(truncatingIfNeeded: field.signed - 1)
            case 5: device = field.integer
            case 6: modified = try field.time()
            case 7: accessed = try field.time()
            case 8: changed = try field.time()
            case 9: target = field.array
            case 10:
                let (name, value) = try field.pair()
                extended.append(ExtendedAttribute(name: Key(name), value: value))
            case 11: file = field.string
            case 12: address = field.string
            case 13: closedSize = field.signed - 1
            case 14: closedTime = try field.time()
            case 15: entry = try Entry(decoding: field.array[...])
            case 16: if published == nil { published = [] }
            case 17: published = (published ?? []) + [Key(field.array)]
            case 18: baseKind = UInt8(truncatingIfNeeded: field.integer)
            case 19: base = Key(field.array)
            case 20: isDirty = field.integer != 0
            case 22: wholeFile = field.string
            case 23: wholeAddress = field.string
            case 24: wholeSize = field.signed - 1
            case 25: wholeTime = try field.time()
            case 28: isEntryNew = field.integer != 0
            case 29: replaced = try Entry(decoding: field.array[...])
            case 27: planned.append(Key(field.array))
            case 26: filled = try field.time()
            case 21: isClosePublished = field.integer != 0
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.integer(1, Int64(kind))
        writer.integer(2, mode.map { Int64($0) + 1 } ?? 0)
        writer.integer(3, owner.map { Int64($0) + 1 } ?? 0)
        writer.integer(4, group.map { Int64($0) + 1 } ?? 0)
        writer.integer(5, Int64(bitPattern: device))
        writer.time(6, modified)
        writer.time(7, accessed)
        writer.time(8, changed)
        if let target { writer.always(9, target) }
        for attribute in extended {
            writer.message(10) { pair in
                pair.bytes(1, attribute.name.bytes)
                pair.bytes(2, attribute.value)
            }
        }
        writer.string(11, file)
        writer.string(12, address)
        writer.integer(13, closedSize.map { $0 + 1 } ?? 0)
        writer.time(14, closedTime)
        if let entry { writer.always(15, Array(entry.envelope.data)) }
        if let published {
            writer.bool(16, true)
            for path in published { writer.always(17, path.bytes) }
        }
        writer.integer(18, Int64(baseKind))
        writer.bytes(19, base.bytes)
        writer.bool(20, isDirty)
        writer.bool(21, isClosePublished)
        writer.string(22, wholeFile)
        writer.string(23, wholeAddress)
        writer.integer(24, wholeSize.map { $0 + 1 } ?? 0)
        writer.time(25, wholeTime)
        writer.time(26, filled)
        for path in planned { writer.always(27, path.bytes) }
        writer.bool(28, isEntryNew)
        if let replaced { writer.always(29, Array(replaced.envelope.data)) }
        return writer.bytes
    }
}
