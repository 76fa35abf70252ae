package import Foundations

/// An upload in parts that is on its way, or was completed a short while ago.
/// Source: `lakefs-formats.md` 5.6, UploadData.
package struct MultipartUpload: Sendable {
    package var id: String
    /// `repository/branch/path`: the same path of another branch is another object.
    package var path: String
    package var created: Timestamp
    /// lakeFS's: where its object is to lie. Ours gets another one when it is completed.
    var address: String
    package var facts: UploadFacts
    /// Of one that was completed: the entity tag that it got, and which parts were asked for. Ours: lakeFS passes over
    /// them. They are kept for a day, for a client that did not hear the answer and asks again.
    package var completedTag = "", completedParts: [UInt8] = []
    /// Ours too: the name of the checksum that its parts have, and whether the object's is to be of all bytes.
    package var checksumAlgorithm = "", isFullObject = false
    /// Of one that was completed, as the door that has checksums writes it.
    package var completedChecksum = ""

    package var repositoryID: RepositoryID { RepositoryID(String(path.prefix { $0 != "/" })) }
    package var isCompleted: Bool { !completedTag.isEmpty }

    init(id: String, path: String, address: String, _ facts: UploadFacts) {
        self.id = id
        self.path = path
        created = .now()
        self.address = address
        self.facts = facts
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(id: "", path: "", address: "", UploadFacts(contentType: ""))
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: id = field.string
            case 2: path = field.string
            case 3: created = try field.time()
            case 4: address = field.string
            case 5: facts.metadata.pairs.append(try field.pair())
            case 6: facts.contentType = field.string
            case 101: completedTag = field.string
            case 102: completedParts = field.array
            case 103: checksumAlgorithm = field.string
            case 104: isFullObject = field.integer != 0
            case 105: completedChecksum = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, id)
        writer.string(2, path)
        writer.time(3, created)
        writer.string(4, address)
        writer.map(5, facts.metadata)
        writer.string(6, facts.contentType)
        writer.string(101, completedTag)
        writer.bytes(102, completedParts)
        writer.string(103, checksumAlgorithm)
        writer.bool(104, isFullObject)
        writer.string(105, completedChecksum)
        return writer.bytes
    }

    /// Records of uploads, by id.
    static let partition = Partition("multiparts")
    /// Records of the parts of one, by `UploadPart.key`.
    static func parts(_ id: String) -> Partition { Partition(partsPrefix + id) }
    static let partsPrefix = "lakefuse-parts:"
}

/// One part: where its bytes are, and what they are. Our own record; lakeFS keeps none.
package struct UploadPart: Sendable {
    package var address: String, size: Int64, md5: [UInt8], modified: Timestamp
    /// The name and the text of the checksum that it came with; empty if it came without.
    package var checksumAlgorithm = "", checksum = ""

    init(address: String, size: Int64, md5: [UInt8]) {
        self.address = address
        self.size = size
        self.md5 = md5
        modified = .now()
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(address: "", size: 0, md5: [])
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: address = field.string
            case 2: size = field.signed
            case 3: md5 = field.array
            case 4: modified = try field.time()
            case 5: checksumAlgorithm = field.string
            case 6: checksum = field.string
            default: break
            }
        }
    }

    var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.string(1, address)
        writer.integer(2, size)
        writer.bytes(3, md5)
        writer.time(4, modified)
        writer.string(5, checksumAlgorithm)
        writer.string(6, checksum)
        return writer.bytes
    }

    /// Five digits, so that parts are in their order.
    static func key(_ number: Int) -> Key {
        Key(String(repeating: "0", count: 5 - String(number).count) + String(number))
    }
}
