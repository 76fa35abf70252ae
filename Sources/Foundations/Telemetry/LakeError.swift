/// What the versioning core could not do, and why. Doors turn `code` into a status, an S3 code or an errno.
package struct LakeError: Error, Sendable, CustomStringConvertible {
    /// Kinds of things that can be missing or there already.
    package enum Thing: String, Sendable, Hashable {
        case repository, branch, tag, commit
        case reference = "ref"
        case object = "path"
        case metaRange = "metarange"
        case user, group, policy, credentials
        case externalPrincipal = "external principal"
        case mount, upload
        case pullRequest = "pull request"
        case comment, task, run
        case importJob = "import"
        case rule
        case storageNamespace = "storage namespace"
        case settings, parent
    }

    package enum Code: Sendable, Hashable {
        case notFound(Thing)
        case alreadyExists(Thing)
        /// A name, expression or value that is not allowed.
        case invalidValue
        /// The branch has uncommitted changes where none may be.
        case dirtyBranch
        case noChanges
        /// Both sides of a merge changed the same entries: see `conflicts`.
        case conflict
        /// A conditional write found another state.
        case preconditionFailed
        /// The repository's action files are broken: no change that they watch can be made.
        case invalidActions
        case readOnlyRepository
        /// A rule of the repository forbids this on the branch.
        case protectedBranch
        /// The entry is there, its bytes are not.
        case dataGone
        /// The branch kept changing under the operation; later it may succeed.
        case tooManyTries
        case unauthenticated
        case permissionDenied
        case noSpace
        case corrupt
        case unavailable
        /// An engine behind a network does not answer; later it may.
        case away
        case notImplemented
    }

    package var code: Code
    package var message: String
    package var cause: (any Error)?
    /// Paths that both sides changed, in order; empty for other codes.
    package var conflicts: [Key] = []

    /// A write may have been seen before it failed: what it names must stay.
    package var mayBeStaged = false

    package init(_ code: Code, _ message: String, cause: (any Error)? = nil) {
        self.code = code
        self.message = message
        self.cause = cause
    }

    package var description: String { message }

    package static func conflict(_ keys: [Key]) -> LakeError {
        var error = LakeError(
            .conflict,
            "conflict found: \(keys.prefix(5).map(\.description).joined(separator: ", "))\(keys.count > 5 ? " and \(keys.count - 5) more" : "")"
        )
        error.conflicts = keys
        return error
    }

    package static func notFound(_ thing: Thing, _ name: some CustomStringConvertible) -> LakeError {
        LakeError(.notFound(thing), "\(thing.rawValue) \(name): not found")
    }

    /// Any error of the core or its ports, as one of these.
    package init(_ error: any Error) {
        switch error {
        case let error as LakeError: self = error
        case let error as StoreError:
            let code: Code =
                switch error.code {
                case .preconditionFailed: .tooManyTries
                case .notFound: .dataGone
                case .corrupt: .corrupt
                case .noSpace: .noSpace
                case .refused, .unavailable: .unavailable
                case .away: .away
                case .invalid: .invalidValue
                }
            self.init(code, error.message, cause: error)
        default: self.init(.corrupt, "stored data cannot be read: \(error)", cause: error)
        }
    }
}
