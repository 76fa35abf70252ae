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
    func user(_ userName: String, password: String) throws -> String? {
        // An empty one binds to a directory as nobody (RFC 4513, 5.1.2), and is none anywhere.
        guard !userName.isEmpty, !password.isEmpty else { return nil }
        for system in passwords {
            if let found = try system.identity(of: userName, password: password) {
                try access.welcome(
                    found.userName, from: system.source, friendlyName: found.friendlyName, email: found.email,
                    groups: found.groups)
                return found.userName
            }
        }
        return nil
    }
}

/// Threads that wait for other systems: these take their time, and must not hold up what waits for nobody. Safe from
/// any thread.
package final class OutsideCalls: Sendable {
    private let pool: WorkerPool
    private let waiting = Atomic<Int>(0)
    /// Requests that wait for a thread: more are told to come again.
    private static let mostWaiting = 256

    package init(width: Int = 8) { pool = WorkerPool(name: "outside", width: width) }

    func run(
        _ work: @escaping @Sendable () throws -> Response, _ answer: @escaping @Sendable (Response) -> Void
    ) {
        guard waiting.add(1, ordering: .relaxed).newValue <= Self.mostWaiting else {
            waiting.subtract(1, ordering: .relaxed)
            return answer(REST.slowDown)
        }
        pool.run { [self] in
            defer { waiting.subtract(1, ordering: .relaxed) }
            do { answer(try work()) } catch { answer(Response(error)) }
        }
    }

    /// The same for a request without a body.
    func reception(_ work: @escaping @Sendable () throws -> Response) -> Reception {
        .later { [self] answer in run(work, answer) }
    }

    /// Ends the threads. Call once.
    package func stop() { pool.stop() }
}
