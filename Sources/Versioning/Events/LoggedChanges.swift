import Foundations

/// What a process says of itself to the others.
///
///     1 beat · 2 number of its last log record · 3 repositories … · 4 all of them · 5 it has ended
struct ProcessRecord: Equatable {
    /// Another one each time the record is written.
    var beat: UInt64 = 0
    var number: UInt64 = 0
    /// Those that it may change without having told yet.
    var repositories: Set<RepositoryID> = []
    var isAll = false
    var isEnded = false

    static let folder: Key = "processes/"
    static func key(_ process: String) -> Key { Key("processes/" + process) }

    init() {}

    init(decoding bytes: [UInt8]) throws {
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: beat = field.integer
            case 2: number = field.integer
            case 3: repositories.insert(RepositoryID(field.string))
            case 4: isAll = field.integer != 0
            case 5: isEnded = field.integer != 0
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.integer(1, Int64(bitPattern: beat))
        writer.integer(2, Int64(bitPattern: number))
        writer.strings(3, repositories.sorted().map(\.text))
        writer.bool(4, isAll)
        writer.bool(5, isEnded)
        return writer.bytes
    }
}

/// A record of the log.
///
///     1 change …: 1 repository · 2 branch · 3 kind · 4 key … · 5 metarange before · 6 metarange now
enum LoggedChanges {
    static func folder(_ process: String) -> Key { Key("log/\(process)/") }
    static func key(_ process: String, _ number: UInt64) -> Key {
        let digits = String(number, radix: 16)
        return Key("log/\(process)/" + String(repeating: "0", count: 16 - digits.count) + digits)
    }
    static func number(_ key: Key, of process: String) -> UInt64? {
        UInt64(String(decoding: key.bytes.dropFirst(folder(process).count), as: UTF8.self), radix: 16)
    }

    /// Changes as records of some size at most; a change of very many keys is several.
    static func pieces(_ changes: [Change], byteCount: Int) -> [[UInt8]] {
        var pieces: [[UInt8]] = []
        var writer = ProtobufWriter()
        func add(_ change: Change) {
            writer.message(1) { encode(change, &$0) }
            guard writer.bytes.count > byteCount else { return }
            pieces.append(writer.bytes)
            writer = ProtobufWriter()
        }
        for change in changes {
            guard case .keys(let keys) = change.kind else {
                add(change)
                continue
            }
            var start = 0
            var bytes = 0
            for (index, key) in keys.enumerated() {
                bytes += key.count + 8
                guard bytes > byteCount / 2 || index == keys.count - 1 else { continue }
                add(
                    Change(
                        repository: change.repository, branch: change.branch, kind: .keys(Array(keys[start...index]))))
                (start, bytes) = (index + 1, 0)
            }
        }
        if !writer.bytes.isEmpty { pieces.append(writer.bytes) }
        return pieces
    }

    private static func encode(_ change: Change, _ writer: inout ProtobufWriter) {
        if let repository = change.repository { writer.string(1, repository.text) }
        if let branch = change.branch { writer.string(2, branch.text) }
        switch change.kind {
        case .keys(let keys):
            writer.integer(3, 1)
            for key in keys { writer.always(4, key.bytes) }
        case .moved(let from, let to):
            writer.integer(3, 2)
            writer.string(5, from)
            writer.string(6, to)
        case .committed: writer.integer(3, 3)
        case .everything: writer.integer(3, 4)
        case .removed: writer.integer(3, 5)
        }
    }

    static func decode(_ bytes: [UInt8]) throws -> [Change] {
        var changes: [Change] = []
        try readProtobuf(bytes) { field in
            guard field.number == 1 else { return }
            var (repository, branch): (RepositoryID?, BranchName?)
            var kind: UInt64 = 0
            var keys: [Key] = []
            var (from, to) = ("", "")
            try readProtobuf(field.bytes) { field in
                switch field.number {
                case 1: repository = RepositoryID(field.string)
                case 2: branch = BranchName(field.string)
                case 3: kind = field.integer
                case 4: keys.append(Key(field.array))
                case 5: from = field.string
                case 6: to = field.string
                default: break
                }
            }
            let told: Change.Kind =
                switch kind {
                case 1: .keys(keys)
                case 2: .moved(from: from, to: to)
                case 3: .committed
                case 5: .removed
                default: .everything  // Also what a newer program tells.
                }
            changes.append(ChangeFeed.elsewhere(repository: repository, branch: branch, told))
        }
        return changes
    }
}
