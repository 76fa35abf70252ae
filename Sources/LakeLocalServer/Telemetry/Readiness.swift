import Foundations
import Synchronization
package import Versioning

/// Whether a server should be sent requests: its engines answer, and it is not about to end. Safe from any thread.
package final class Readiness: Sendable {
    private struct State {
        var isEnding = false
        var known: (reason: String?, at: Int64)?
    }
    private let catalog: Catalog
    private let state = Mutex(State())
    /// How long what was found is told again: many may ask.
    private static let milliseconds: Int64 = 500

    package init(_ catalog: Catalog) { self.catalog = catalog }

    /// From now on it is not ready, for whoever sends it requests to send them elsewhere.
    package func end() { state.withLock { $0.isEnding = true } }

    /// Why it is not ready, or nil.
    func reason() -> String? {
        let now = Timestamp.monotonicMilliseconds()
        let (isEnding, known) = state.withLock { ($0.isEnding, $0.known) }
        if isEnding { return "the server is about to end" }
        if let known, now - known.at < Self.milliseconds { return known.reason }
        var reason: String?
        do { try catalog.checkEngines() } catch { reason = LakeError(error).message }
        state.withLock { [reason] in $0.known = (reason, Timestamp.monotonicMilliseconds()) }
        return reason
    }
}
