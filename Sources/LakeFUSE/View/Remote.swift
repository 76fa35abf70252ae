import Foundations
import Glibc
import LakeAPI
import Synchronization
import Versioning

/// A ref of a server elsewhere, and whether that answers. While it does not, it is asked once in a while, so that who
/// reads what is cached need not wait for it. Safe from any thread.
final class Remote: Sendable {
    private let client: LakeClient
    let repository: String, ref: String
    /// Until when nobody asks, in milliseconds; 0 while it answers.
    private let silentUntil = Atomic<Int64>(0)
    private static let pause: Int64 = 2000

    init(_ client: LakeClient, repository: String, ref: String) {
        self.client = client
        self.repository = repository
        self.ref = ref
    }

    /// Another ref of the repository.
    func at(_ ref: String) -> Remote { Remote(client, repository: repository, ref: ref) }

    var answers: Bool { silentUntil.load(ordering: .relaxed) == 0 }

    /// How often a request is sent before the server is taken for one that does not answer; milliseconds between the
    /// first two.
    private static let tries = 4, wait: UInt32 = 50

    /// Asks the server, several times if a connection breaks: what is asked may be asked again. Not one that did not
    /// answer lately.
    /// - Parameter insists: whether it is asked all the same.
    /// - Throws: `.unavailable` if there is no answer.
    func ask<Result>(insists: Bool = false, _ body: (LakeClient) throws -> Result) throws -> Result {
        let until = silentUntil.load(ordering: .relaxed)
        guard insists || until == 0 || Timestamp.monotonicMilliseconds() >= until else {
            throw LakeError(.unavailable, "\(client.endpoint) does not answer")
        }
        var attempt = 1
        while true {
            do {
                let begun = Timestamp.monotonicMilliseconds()
                do {
                    let result = try body(client)
                    silentUntil.store(0, ordering: .relaxed)
                    return result
                } catch let error as LakeError
                    where error.code == .unavailable && until == 0 && attempt < Self.tries
                    && Timestamp.monotonicMilliseconds() - begun < Self.pause
                {
                    usleep(Self.wait * 1000 << UInt32(2 * (attempt - 1)))
                    attempt += 1
                }
            } catch let error as LakeError where error.code == .unavailable {
                silentUntil.store(Timestamp.monotonicMilliseconds() + Self.pause, ordering: .relaxed)
                throw error
            } catch {
                // An answer, if not the one that was hoped for.
                silentUntil.store(0, ordering: .relaxed)
                throw error
            }
        }
    }
}
