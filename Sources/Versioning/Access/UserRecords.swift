package import Foundations

/// A user of the lake.
package struct User: Sendable, Equatable {
    package var name: String
    package var creationDate: Timestamp
    package var friendlyName = ""
    package var email = ""
    package var source = "internal"

    package init(name: String, creationDate: Timestamp) {
        self.name = name
        self.creationDate = creationDate
    }

    init(decoding bytes: [UInt8]) throws {
        self.init(name: "", creationDate: Timestamp(seconds: 0))
        try readProtobuf(bytes) { field in
            switch field.number {
            case 1: creationDate = try field.time()
            case 2: name = field.string
            case 3: friendlyName = field.string
            case 4: email = field.string
            case 6: source = field.string
            default: break
            }
        }
    }

    package var encoded: [UInt8] {
        var writer = ProtobufWriter()
        writer.time(1, creationDate)
        writer.string(2, name)
        writer.string(3, friendlyName)
        writer.string(4, email)
        writer.string(6, source)
        return writer.bytes
    }
}

/// A key pair. Its description leaves the secret out.
package struct Credentials: Sendable, CustomStringConvertible {
    package let accessKeyID: String
    package let secretAccessKey: String
    package let userName: String
    package let issued: Timestamp
    package var description: String { accessKeyID }

    /// A fresh pair. Source: `lakefs-formats.md` 5.5.
    package static func make(for user: String) -> Credentials {
        let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567".utf8)
        let middle = String(decoding: randomBytes(14).map { letters[Int($0 & 31)] }, as: UTF8.self)
        return Credentials(
            accessKeyID: "AKIAJ\(middle)Q", secretAccessKey: Base64.encode(randomBytes(30)), userName: user,
            issued: .now())
    }

    package init(accessKeyID: String, secretAccessKey: String, userName: String, issued: Timestamp) {
        self.accessKeyID = accessKeyID
        self.secretAccessKey = secretAccessKey
        self.userName = userName
        self.issued = issued
    }
}
