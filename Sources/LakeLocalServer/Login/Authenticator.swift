import Foundations
import Synchronization
package import Versioning

/// Whom another system vouches for.
struct ExternalIdentity: Sendable {
    let userName: String
    var friendlyName = "", email = ""
    /// Groups of this lake that the user is put into when they come for the first time; those that are not here are
    /// passed over.
    var groups: [String] = []
    /// The same where none of them is here.
    var defaults: [String] = []
}

extension Access {
    func welcome(_ found: ExternalIdentity, from source: String) throws -> User {
        try welcome(
            found.userName, from: source, friendlyName: found.friendlyName, email: found.email, groups: found.groups,
            otherwise: found.defaults)
    }
}

/// Another system that knows users and their passwords.
protocol PasswordAuthenticator: Sendable {
    /// Its name in the records of users who come from it.
    var source: String { get }
    /// Who it is; nil for a password that is wrong. May take as long as the system does.
    /// - Throws: `.unavailable` if it does not answer.
    func identity(of userName: String, password: String) throws -> ExternalIdentity?
}

/// Other systems whose users may log in here: passwords that they check, and OpenID Connect.
package struct ExternalLogins: Sendable {
    let passwords: [any PasswordAuthenticator]
    package let openID: OpenIDConnect?
    let access: Access

    package init(
        _ access: Access, remote: RemoteAuthenticator.Settings?, directory: DirectoryAuthenticator.Settings?,
        openID: OpenIDConnect.Settings?, signing login: Login
    ) {
        self.access = access
        passwords =
            (directory.map { [DirectoryAuthenticator($0)] } ?? [] as [any PasswordAuthenticator])
            + (remote.map { [RemoteAuthenticator($0)] } ?? [])
        self.openID = openID.map { OpenIDConnect($0, login: login) }
    }

    /// The user whom one of the systems knows by a password; nil if none does.
    func user(_ userName: String, password: String) throws -> User? {
        // An empty one binds to a directory as nobody (RFC 4513, 5.1.2), and is none anywhere.
        guard !userName.isEmpty, !password.isEmpty else { return nil }
        for system in passwords {
            if let found = try system.identity(of: userName, password: password) {
                return try access.welcome(found, from: system.source)
            }
        }
        return nil
    }
}

/// Threads that wait for other systems: these take their time, and must not hold up what waits for nobody. Safe from
/// any thread.
package final class OutsideCalls: Sendable {
    private let pool: WorkerPool
    /// Requests that wait for a thread or run, by address.
    private let waiting = Mutex<[IPAddress?: Int]>([:])
    /// More of them, or of one address, are told to come again.
    private static let mostWaiting = 256, mostOfOneAddress = 32

    package init(width: Int = 8) { pool = WorkerPool(name: "outside", width: width) }

    /// - Parameter request: whose work it is.
    func run(
        for request: Request, _ work: @escaping @Sendable () throws -> Response,
        _ answer: @escaping @Sendable (Response) -> Void
    ) {
        let address = request.peer?.address
        let isAllowed = waiting.withLock { waiting in
            let own = waiting[address] ?? 0
            guard own < Self.mostOfOneAddress, waiting.values.reduce(0, +) < Self.mostWaiting else { return false }
            waiting[address] = own + 1
            return true
        }
        guard isAllowed else { return answer(REST.slowDown) }
        pool.run { [self] in
            let response: Response
            do { response = try work() } catch { response = Response(error) }
            waiting.withLock { waiting in
                let others = (waiting[address] ?? 1) - 1
                waiting[address] = others > 0 ? others : nil
            }
            answer(response)
        }
    }

    /// The same for a request without a body.
    func reception(for request: Request, _ work: @escaping @Sendable () throws -> Response) -> Reception {
        .later { [self] answer in run(for: request, work, answer) }
    }

    /// Ends the threads. Call once.
    package func stop() { pool.stop() }
}
