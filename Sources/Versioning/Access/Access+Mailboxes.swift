import Foundations

/// Mailboxes, for programs that log in by a browser. The records are ours; lakeFS keeps none.
extension Access {
    /// Where a token waits for the program that somebody logs in for in a browser. Only who has the mailbox' name
    /// finds it; what is stored under is its hash.
    private static func key(ofMailbox hash: String) -> Key { Key("lakefuse_mailboxes/\(hash)") }

    /// Seconds that a mailbox is open.
    package static let mailboxSeconds: Int64 = 600

    /// Puts a token into a mailbox, whatever was in it. What nobody has fetched in time is removed.
    package func post(_ token: String, toMailbox hash: String) throws {
        let now = Timestamp.now()
        var batch: [Mutation] = []
        for record in try store.page(of: Self.auth, prefix: "lakefuse_mailboxes/", limit: 100)
        where try Self.openMailbox(record.value).end < now { batch.append(.remove(Self.auth, record.key)) }
        var writer = ProtobufWriter()
        writer.bytes(1, box.seal(token))
        writer.time(2, Timestamp(seconds: now.seconds + Self.mailboxSeconds))
        try store.write(batch + [.set(Self.auth, Self.key(ofMailbox: hash), writer.bytes)], .durable)
    }

    private static func openMailbox(_ record: [UInt8]) throws -> (sealed: [UInt8], end: Timestamp) {
        var sealed: [UInt8] = []
        var end = Timestamp(seconds: 0)
        try readProtobuf(record) { field in
            if field.number == 1 { sealed = field.array } else if field.number == 2 { end = try field.time() }
        }
        return (sealed, end)
    }

    /// Takes what is in a mailbox: it is told once. Nil if nothing is.
    package func takeToken(fromMailbox hash: String) throws -> String? {
        let key = Self.key(ofMailbox: hash)
        guard let record = try store.value(for: key, in: Self.auth) else { return nil }
        do throws(StoreError) {
            try store.write([.require(Self.auth, key, .matches(record)), .remove(Self.auth, key)], .durable)
        } catch {
            guard error.code == .preconditionFailed else { throw error }
            return nil
        }
        let (sealed, end) = try Self.openMailbox(record)
        return end < Timestamp.now() ? nil : box.open(sealed)
    }
}
