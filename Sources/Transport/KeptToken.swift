import Foundations
import Synchronization

/// A token of a cloud's, kept until shortly before it ends; one look for it at a time. Safe from any thread.
final class KeptToken: Sendable {
    private let known = Mutex<(token: String, end: Int64)?>(nil)
    private let turns = TurnQueue()
    /// Seconds before its end at which a token is fetched anew.
    private static let window: Int64 = 300

    private var fresh: String? {
        let now = Timestamp.now().seconds
        return known.withLock { $0.flatMap { $0.end - now > Self.window ? $0.token : nil } }
    }

    /// The token, fetched by `look` if there is none: it tells the token and how many seconds it is good for.
    func get(_ look: () throws -> (token: String, seconds: Int64)) throws(StoreError) -> String {
        if let fresh { return fresh }
        do {
            return try turns.withTurn(of: "look") {
                if let fresh { return fresh }
                let told = try look()
                // One that ends soon is good for what it has.
                let life = max(told.seconds, Self.window + 10)
                known.withLock { $0 = (told.token, Timestamp.now().seconds + life) }
                return told.token
            }
        } catch { throw error as? StoreError ?? StoreError(.refused, "no token: \(error)") }
    }
}
