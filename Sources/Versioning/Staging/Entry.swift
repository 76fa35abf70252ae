package import Foundations

/// An object as a branch or commit knows it. Source: `lakefs-formats.md` 3.2.
package struct Entry: Sendable, Equatable {
    package enum AddressType: Int64, Sendable { case byPrefixDeprecated, relative, full }

    /// `data/…` below the repository's namespace, or a URI.
    package var address: String
    package var addressType = AddressType.relative
    package var lastModified: Timestamp
    /// Bytes.
    package var size: Int64
    /// The checksum that clients see, without quotes.
    package var eTag: String
    package var metadata: Metadata
    package var contentType: String

    package init(
        address: String, addressType: AddressType = .relative, lastModified: Timestamp, size: Int64, eTag: String,
        metadata: Metadata = [:], contentType: String
    ) {
        self.address = address
        self.addressType = addressType
        self.lastModified = lastModified
        self.size = size
        self.eTag = eTag
        self.metadata = metadata
        self.contentType = contentType
    }

    /// Bytes of the largest object: what S3 takes is less, and arithmetic on it cannot overflow. Stored entries that
    /// say more are read as saying this, which no data has.
    package static let largestSize: Int64 = 1 << 50

    /// - Throws: `.invalidValue` for a size that no object has.
    package static func checkSize(_ size: Int64) throws {
        guard (0...largestSize).contains(size) else {
            throw LakeError(
                .invalidValue, "size_bytes \(size) is not a size that an object can have: 0 to \(largestSize)")
        }
    }

    /// Bytes of an entry's texts: entries are listed by the thousand.
    private static let largestTexts = 64 << 10

    /// - Throws: `.invalidValue` if it says more than an entry may.
    func check() throws {
        try Self.checkSize(size)
        let count = metadata.byteCount + contentType.utf8.count + eTag.utf8.count + address.utf8.count
        guard count <= Self.largestTexts else {
            throw LakeError(
                .invalidValue, "the metadata of an object may have \(Self.largestTexts) bytes: these have \(count)")
        }
    }

    /// How addresses of objects end that were joined from parts: their entity tags are not the MD5 of their bytes.
    package static let partsSuffix = ".parts"

    /// Whether its object was joined from parts here.
    var isOfParts: Bool { isRelative && address.hasSuffix(Self.partsSuffix) }

    /// How many parts its object was joined from, as its address says; nil if it was not, or does not say.
    package var partCount: Int? {
        guard isOfParts else { return nil }
        let name = address.dropLast(Self.partsSuffix.count)
        return name.lastIndex(of: ".").flatMap { Int(name[name.index(after: $0)...]) }
    }

    /// The entity tag that S3 tells: of an object of parts with their number behind it (Amazon S3 user guide, "Checking
    /// object integrity"). REST tells it without, as lakeFS does, but of parts that were written to presigned addresses.
    package var s3Tag: String { partCount.map { eTag.contains("-") ? eTag : "\(eTag)-\($0)" } ?? eTag }

    /// How addresses end that were handed out for a direct upload: a client says what is there, and when.
    package static let directSuffix = ".direct"

    /// The MD5 of the bytes, if the entity tag is that; nil where it was made elsewhere, or of parts.
    package var contentMD5: [UInt8]? {
        guard isRelative, eTag.utf8.count == 32, !isOfParts, !address.hasSuffix(Self.directSuffix) else { return nil }
        return Hex.bytes(eTag.utf8)
    }

    /// What clients are told: imported entries have no type of their own.
    package var shownContentType: String { contentType.isEmpty ? "application/octet-stream" : contentType }

    package init(decoding bytes: ArraySlice<UInt8>) throws {
        self.init(
            address: "", addressType: .byPrefixDeprecated, lastModified: Timestamp(seconds: 0), size: 0, eTag: "",
            contentType: "")
        // Entries are listed by the thousand: nothing is made of a field but what is kept.
        unsafe try bytes.withUnsafeBytes { message in
            unsafe try scanProtobuf(message) { tag, value, field in
                switch tag {
                case 0x18: size = min(max(0, Int64(bitPattern: value)), Self.largestSize)
                case 0x30: addressType = AddressType(rawValue: Int64(bitPattern: value)) ?? .byPrefixDeprecated
                case 0x0a: address = unsafe String(decoding: field, as: UTF8.self)
                case 0x22: eTag = unsafe String(decoding: field, as: UTF8.self)
                case 0x3a: contentType = unsafe Self.contentType(field)
                case 0x12: lastModified = unsafe try Timestamp(protobuf: field)
                case 0x2a: unsafe metadata.pairs.append(try protobufPair(field))
                default: break
                }
            }
        }
    }

    private static let anyType = "application/octet-stream"

    /// The type that most objects have is one text, not one for each.
    private static func contentType(_ bytes: UnsafeRawBufferPointer) -> String {
        if bytes.count == anyType.utf8.count, unsafe bytes.elementsEqual(anyType.utf8) { return anyType }
        return unsafe String(decoding: bytes, as: UTF8.self)
    }

    package init(decoding bytes: [UInt8]) throws { try self.init(decoding: bytes[...]) }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, address)
        writer.time(2, lastModified)
        writer.integer(3, size)
        writer.string(4, eTag)
        writer.map(5, metadata)
        writer.integer(6, addressType.rawValue)
        writer.string(7, contentType)
        return writer.bytes
    }

    /// What makes two entries the same content: not where their bytes lie, nor when they came. Source: 3.6.
    package var identity: [UInt8] {
        var hash = IdentityHash()
        hash.int64(size)
        hash.string(eTag)
        hash.map(metadata)
        if !contentType.isEmpty { hash.string(contentType) }
        return hash.finish()
    }

    package var envelope: Envelope { Envelope(identity: identity, data: encoded) }

    /// Where the bytes lie, for a repository with this namespace. Deprecated addresses are URIs if they look like one.
    package func location(in namespace: StorageNamespace) throws -> ObjectLocation {
        if addressType == .relative { return namespace.location(address) }
        if let full = ObjectLocation(address: address, store: namespace.store) { return full }
        if addressType == .byPrefixDeprecated { return namespace.location(address) }
        throw LakeError(.dataGone, "address \(address) names no object")
    }

    /// Whether the address lies below the repository's namespace.
    package var isRelative: Bool {
        addressType == .relative || (addressType == .byPrefixDeprecated && ObjectLocation(address: address) == nil)
    }

    /// The address with its scheme, as REST shows it.
    package func fullAddress(in namespace: StorageNamespace) -> String {
        isRelative ? namespace.location(address).description : address
    }
}

/// An uncommitted change of one key: a value, or a tombstone. Source: `lakefs-formats.md` 5.7.
struct StagedEntry {
    let key: Key
    /// Nil for a tombstone.
    let envelope: Envelope?

    init(key: Key, envelope: Envelope?) {
        self.key = key
        self.envelope = envelope
    }

    init(key: Key, decoding bytes: [UInt8]) throws {
        var identity: ArraySlice<UInt8> = []
        var data: ArraySlice<UInt8> = []
        try readProtobuf(bytes) { field in
            if field.number == 2 { identity = field.bytes } else if field.number == 3 { data = field.bytes }
        }
        self.key = key
        envelope = identity.isEmpty ? nil : Envelope(identity: Array(identity), data: Array(data))
    }

    /// The encoded value of a stored record, or nil for a tombstone: without making anything else of it.
    static func envelope(of stored: [UInt8], key: Key) throws -> [UInt8]? {
        do {
            var identity: ArraySlice<UInt8> = []
            var data: ArraySlice<UInt8> = []
            var position = 0
            while position < stored.count {
                // Three fields with lengths, each once: anything else goes the long way.
                let tag = stored[position]
                position += 1
                guard tag == 0x0a || tag == 0x12 || tag == 0x1a, let length = stored.varint(at: &position),
                    length <= UInt64(stored.count - position)
                else {
                    return try StagedEntry(key: key, decoding: stored).envelope?.bytes
                }
                let end = position + Int(length)
                if tag == 0x12 {
                    identity = stored[position..<end]
                } else if tag == 0x1a {
                    data = stored[position..<end]
                }
                position = end
            }
            guard !identity.isEmpty else { return nil }
            var bytes: [UInt8] = []
            bytes.reserveCapacity(identity.count + data.count + 8)
            bytes.append(zigzag: Int64(identity.count))
            bytes += identity
            bytes.append(zigzag: Int64(data.count))
            bytes += data
            return bytes
        } catch {
            throw LakeError(.corrupt, "the staged entry of \(key) is no message")
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.bytes(1, key.bytes)
        if let envelope {
            writer.bytes(2, Array(envelope.identity))
            writer.bytes(3, Array(envelope.data))
        }
        return writer.bytes
    }
}
