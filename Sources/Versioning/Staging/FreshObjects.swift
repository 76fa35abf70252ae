import Synchronization

/// Objects that nothing names but one uncommitted change: those that this process uploaded and staged under one key. When
/// that change is replaced or taken back before a commit has taken it, the object can go at once; a file that is saved a
/// thousand times between two commits keeps one object, not a thousand.
///
/// An address counts only with the staging token it was staged in first: a commit closes the token, and what is staged again
/// later (by a reset, say) lies in another one. What comes to be named twice is forgotten here, and left to collection.
/// Everything that is not known here is left alone. Safe from any thread.
final class FreshObjects: Sendable {
    private struct State {
        /// Addresses that were given out and not staged yet.
        var issued: Set<String> = []
        var tokens: [String: String] = [:]
    }

    private let state = Mutex(State())
    /// Beyond this everything is forgotten: only space is lost.
    private static let most = 200_000

    /// An address was made for an object that is about to come.
    func issue(_ address: String) {
        state.withLock { state in
            if state.issued.count >= Self.most { state.issued.removeAll() }
            state.issued.insert(address)
        }
    }

    /// An entry with this address was staged in a token.
    func staged(_ address: String, in token: String) {
        state.withLock { state in
            guard state.issued.remove(address) != nil else { return }
            if state.tokens.count >= Self.most { state.tokens.removeAll() }
            state.tokens[address] = token
        }
    }

    /// More than one entry names it from now on, or may.
    func share(_ address: String) {
        state.withLock { state in
            state.issued.remove(address)
            state.tokens[address] = nil
        }
    }

    /// Whether nothing names the object but what was staged in this token; it is told once.
    func take(_ address: String, in token: String) -> Bool {
        state.withLock { state in
            guard state.tokens[address] == token else { return false }
            state.tokens[address] = nil
            return true
        }
    }

    /// Whether anything staged in any token may be taken: without that nobody need look.
    var isEmpty: Bool { state.withLock { $0.tokens.isEmpty } }
}
