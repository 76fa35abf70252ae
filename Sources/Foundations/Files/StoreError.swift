/// What a store could not do.
package struct StoreError: Error, Sendable, CustomStringConvertible {
    package enum Code: Sendable, Hashable {
        /// A conditional write found another value; nothing was written.
        case preconditionFailed
        /// An object that should be there is not.
        case notFound
        /// Stored bytes are not what they must be.
        case corrupt
        /// No room for what was to be written; nothing of it is visible.
        case noSpace
        /// The store belongs to another process, or to a newer version of this program.
        case refused
        /// The store did not answer, or answered with an error of its own.
        case unavailable
        /// An engine behind a network is not to be reached, or has too much to do: it may be well again in a while.
        case away
        /// The name or argument is not one that the store can take.
        case invalid
    }
    package var code: Code
    package var message: String
    package var cause: (any Error)?
    /// True when the same call may succeed later, and may be made again: it had no effect that two would not have.
    package var isTransient: Bool

    package init(_ code: Code, _ message: String, cause: (any Error)? = nil, isTransient: Bool = false) {
        self.code = code
        self.message = message
        self.cause = cause
        self.isTransient = isTransient
    }

    package var description: String { message }
}
