import CacheStore
import Foundations
import Glibc
import Versioning

/// The number that a system call answers with (errno(3)).
struct Errno: Error, Equatable {
    let number: Int32
    init(_ number: Int32) { self.number = number }

    /// What POSIX calls an error of the core.
    init(_ error: any Error) {
        if let known = error as? Errno {
            self = known
            return
        }
        number =
            switch LakeError(error).code {
            case .notFound: ENOENT
            case .alreadyExists: EEXIST
            case .invalidValue: EINVAL
            case .dirtyBranch, .conflict, .preconditionFailed: EBUSY
            case .noChanges: 0
            case .readOnlyRepository: EROFS
            case .protectedBranch, .permissionDenied, .unauthenticated: EACCES
            case .dataGone, .corrupt, .unavailable, .invalidActions: EIO
            case .tooManyTries, .away: EAGAIN
            case .noSpace: ENOSPC
            case .notImplemented: ENOSYS
            }
    }
}
