import Glibc

/// Whether the calling thread may wait for what is behind a network. A thread that many connections share may not: it tries
/// what can be done with what is at hand, and leaves the rest to a thread that may.
package enum Waiting {
    /// By thread: nothing, or a pointer that says forbidden, or that waiting was wanted all the same.
    private static let slot: pthread_key_t = {
        var key = pthread_key_t()
        unsafe pthread_key_create(&key, nil)
        return key
    }()
    private static var forbidden: UnsafeMutableRawPointer? { unsafe UnsafeMutableRawPointer(bitPattern: 1) }
    private static var wanted: UnsafeMutableRawPointer? { unsafe UnsafeMutableRawPointer(bitPattern: 2) }

    /// To be called before waiting.
    /// - Throws: `.away` where that is forbidden.
    package static func begin() throws(StoreError) {
        guard unsafe pthread_getspecific(slot) != nil else { return }
        unsafe pthread_setspecific(slot, wanted)
        throw StoreError(.away, "this thread may not wait")
    }

    /// Whether what is done now is an attempt without waiting.
    package static var isForbidden: Bool { unsafe pthread_getspecific(slot) != nil }

    /// Does what can be done without waiting.
    /// - Returns: nil if something had to be waited for: what `body` did then counts for nothing.
    package static func without<Result>(_ body: () -> Result) -> Result? {
        unsafe pthread_setspecific(slot, forbidden)
        defer { pthread_setspecific(slot, nil) }
        let result = body()
        return unsafe pthread_getspecific(slot) == wanted ? nil : result
    }
}
