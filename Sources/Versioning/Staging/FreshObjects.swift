import Foundations
import Synchronization

/// Objects that nothing names but uncommitted changes: those that this process uploaded and staged, with the keys that
/// name them. When the last of these is replaced or taken back before a commit has taken it, the object can go at once;
/// a file that is saved a thousand times between two commits keeps one object, not a thousand.
///
/// An address counts only with the token that it was staged in: a commit closes the token, and what is staged again
/// later (by a reset, say) lies in another one. Whoever stages an entry claims its address before, so that an address
/// is either taken by who replaces it or named anew by who read it, never both. The keys may be more than those that
/// still name it, never fewer: what is not sure is forgotten here, and left to collection, as is everything that is not
/// known here. Safe from any thread.
///
/// Where several processes share a store, nothing is known: another one may name an object that this one would take.
final class FreshObjects: Sendable {
    private struct Place: Equatable {
        let token: StagingToken
        var keys: Set<Key>
    }

    private struct State {
        /// Addresses that were given out and not staged yet.
        var issued: Set<String> = []
        /// Being staged for the first time, by one who has claimed them.
        var arriving: Set<String> = []
        var places: [String: Place] = [:]
        /// Being staged anew, by one who has claimed them.
        var moving: [String: Place] = [:]
        /// Objects that went, the newer half and the older: nobody may name them any more.
        var taken: Set<String> = [], takenBefore: Set<String> = []
    }

    private let state = Mutex(State())
    private let isKept: Bool

    /// - Parameter isKept: whether anything is to be known at all.
    init(isKept: Bool = true) { self.isKept = isKept }

    /// Beyond this everything is forgotten: only space is lost.
    private static let most = 200_000
    private static let mostTaken = 50_000
    /// Names of one object.
    private static let mostKeys = 20_000

    /// What is known of an address that is about to be staged.
    enum Claim {
        /// It was given out, and never staged.
        case first
        /// All that names it is known, and whoever claims it next will find that no more.
        case moved
        case unknown
    }

    /// An address was made for an object that is about to come.
    func issue(_ address: String) {
        guard isKept else { return }
        state.withLock { state in
            if state.issued.count >= Self.most { state.issued.removeAll() }
            state.issued.insert(address)
        }
    }

    /// An entry with this address is about to be staged. To be followed by `staged` or `keep`; what is not stays for
    /// collection.
    /// - Returns: nil if the object went meanwhile: the entry is not to be staged.
    func claim(_ address: String) -> Claim? {
        guard isKept else { return .unknown }
        return state.withLock { state in
            if state.issued.remove(address) != nil {
                state.arriving.insert(address)
                return .first
            }
            if let place = state.places.removeValue(forKey: address) {
                state.moving[address] = place
                return .moved
            }
            // Two at once: who knows what comes of it. What arrives can be seen, and named elsewhere, before it is noted.
            if state.moving.removeValue(forKey: address) != nil || state.arriving.remove(address) != nil {
                return .unknown
            }
            return state.taken.contains(address) || state.takenBefore.contains(address) ? nil : .unknown
        }
    }

    /// What was claimed was staged under these keys.
    /// - Parameter vacated: all keys of the same write: what they had before they have no more.
    func staged(_ address: String, _ claim: Claim, at keys: Set<Key>, in token: StagingToken, vacated: Set<Key>) {
        state.withLock { state in
            var keys = keys
            switch claim {
            case .unknown: return
            case .first: guard state.arriving.remove(address) != nil else { return }
            case .moved:
                guard let old = state.moving.removeValue(forKey: address), old.token == token else { return }
                keys.formUnion(old.keys.subtracting(vacated))
            }
            guard keys.count <= Self.mostKeys else { return }
            if state.places.count >= Self.most { state.places.removeAll() }
            state.places[address] = Place(token: token, keys: keys)
        }
    }

    /// Nothing was written: what was claimed is as it was.
    func keep(_ address: String, _ claim: Claim) {
        state.withLock { state in
            switch claim {
            case .unknown: break
            case .first: if state.arriving.remove(address) != nil { state.issued.insert(address) }
            case .moved: if let place = state.moving.removeValue(forKey: address) { state.places[address] = place }
            }
        }
    }

    /// Entries that are not known here name it from now on, or may.
    func share(_ address: String) {
        state.withLock { state in
            state.issued.remove(address)
            state.arriving.remove(address)
            state.places[address] = nil
            state.moving[address] = nil
        }
    }

    /// Whether an address under a key of a token is known: to be taken only by who replaces exactly that.
    func isKnown(_ address: String) -> Bool { state.withLock { $0.places[address] != nil } }

    /// A key names the object no more. Returns whether nothing does now; it is told once.
    func take(_ address: String, at key: Key, in token: StagingToken) -> Bool {
        state.withLock { state in
            guard let place = state.places[address], place.token == token,
                state.places[address]!.keys.remove(key) != nil, place.keys.count == 1
            else { return false }
            state.places[address] = nil
            if state.taken.count >= Self.mostTaken {
                state.takenBefore = state.taken
                state.taken.removeAll()
            }
            state.taken.insert(address)
            return true
        }
    }

    /// Whether anything staged in any token may be taken: without that nobody need look.
    var isEmpty: Bool { state.withLock { $0.places.isEmpty } }
}

/// Removes objects that a write replaced, once that write is durable: a crash of the machine must not bring back an
/// entry whose object has gone. Who has just read the entry has half a second to open its object. Safe from any thread.
final class LateRemovals: Sendable {
    private struct State {
        var waiting: [ObjectLocation] = [], due: [ObjectLocation] = []
        /// Writes that are not durable replaced some of them.
        var needsSync = false
        var isRunning = false
        /// Of what came since the thread last woke.
        var bytes: Int64 = 0
        var isEnding = false
        var thread: Thread?
    }

    private let store: any KeyValueStore
    private let objects: any ObjectStore
    private let state = Mutex(State())
    private let hurry = CountingSemaphore()
    private static let delayMilliseconds = 500
    /// Beyond this they go sooner.
    private static let mostBytes: Int64 = 32 << 20

    init(_ store: any KeyValueStore, _ objects: any ObjectStore) {
        self.store = store
        self.objects = objects
    }

    /// - Parameter isDurable: whether the write that replaced it is durable.
    func add(_ location: ObjectLocation, byteCount: Int64, isDurable: Bool) {
        let done = state.withLock { state -> Thread? in
            state.waiting.append(location)
            state.bytes += byteCount
            if state.bytes > Self.mostBytes {
                state.bytes = 0
                hurry.post()
            }
            if !isDurable { state.needsSync = true }
            guard !state.isRunning else { return nil }
            state.isRunning = true
            defer { state.thread = Thread(name: "removals") { [self] in run() } }
            return state.thread
        }
        done?.join()  // Ended, or about to.
    }

    private func run() {
        while true {
            _ = hurry.wait(milliseconds: Self.delayMilliseconds)
            let (locations, needsSync) = state.withLock { state in
                let locations = state.isEnding ? state.due + state.waiting : state.due
                state.due = state.isEnding ? [] : state.waiting
                state.waiting = []
                return (locations, state.needsSync)
            }
            if needsSync, !locations.isEmpty {
                state.withLock { $0.needsSync = false }
                do { try store.write([], .durable) } catch {
                    Log.warning(
                        "replaced objects stay: what replaced them could not be made durable",
                        ["objects": "\(locations.count)", "reason": "\(error)"])
                    state.withLock { $0.needsSync = true }
                    continue
                }
            }
            for location in locations {
                do { try objects.remove(location) } catch {
                    Log.warning(
                        "a replaced object could not be removed",
                        ["object": location.description, "reason": "\(error)"])
                }
            }
            let isDone = state.withLock { state in
                state.isRunning = !state.waiting.isEmpty || !state.due.isEmpty
                return !state.isRunning
            }
            if isDone { return }
        }
    }

    /// Removes what waits, and returns then.
    func finish() {
        let thread = state.withLock { state in
            state.isEnding = true
            defer { state.thread = nil }
            return state.thread
        }
        hurry.post()
        thread?.join()
        state.withLock { $0.isEnding = false }
    }
}
