import Foundations
import Versioning

/// Logging in a program by a browser: the program asks where to send the person, the person who is logged in there
/// releases a token, and the program fetches it. Source: the calls of `lakefs-enterprise-sdk`, get-token.
struct Mailboxes: Sendable {
    let login: Login

    private struct Ticket: Codable {
        var aud = Ticket.audience
        /// The hash of the mailbox' name: who sees a person's address bar cannot fetch the token.
        var box: String
        var exp: Int64
        static let audience = "mailbox"
    }

    private static func hash(_ mailbox: String) -> String { Hex.text(Hash.digest(.sha256, Array(mailbox.utf8))) }

    /// A new mailbox, and the ticket by which a token comes into it.
    func open() -> (mailbox: String, ticket: String) {
        let mailbox = Base64.encodeURL(randomBytes(32))
        let ticket = Ticket(
            box: Self.hash(mailbox), exp: Timestamp.now().seconds + Access.mailboxSeconds)
        return (mailbox, login.sign(ticket))
    }

    /// Releases a token of who makes a request into the mailbox of a ticket.
    /// - Throws: `.invalidValue` for a ticket that is none, or too old.
    func release(_ ticket: String, by request: Request) throws {
        guard let found = login.verified(Ticket.self, ticket), found.aud == Ticket.audience,
            found.exp > Timestamp.now().seconds
        else {
            throw LakeError(.invalidValue, "the login request is not known, or older than ten minutes: begin again")
        }
        try login.access.post(login.handOut(request), toMailbox: found.box)
    }

    /// The token in a mailbox, and when it ends; nil if there is none yet.
    func take(_ mailbox: String) throws -> Login.Token? {
        guard let token = try login.access.takeToken(fromMailbox: Self.hash(mailbox)) else { return nil }
        return (token, login.end(of: token) ?? 0)
    }
}
