import Foundations
import Glibc
import Transport
import Versioning

/// Requests to an object store behind HTTP, made again when they failed for a while only.
final class CloudClient: Sendable {
    private let http: HTTPClient
    private let retries: Retries

    /// - Parameter tries: times that a request is made at most.
    init(tries: Int, verifiesCertificates: Bool = true) {
        http = HTTPClient(connectSeconds: 5, stallSeconds: 60, verifiesCertificates: verifiesCertificates)
        var pace = Retries.Pace()
        pace.tries = max(1, tries)
        retries = Retries(pace)
    }

    /// Makes a request until it is answered, or fails for good.
    /// - Parameters:
    ///   - store: how the engine is named in errors.
    ///   - attempt: makes the request; called again with everything that has a time in it made anew.
    ///   - judge: what an answer other than the wanted ones means; nil for what is no failure.
    func call(
        _ store: String, _ attempt: (HTTPClient) throws -> HTTPClient.Answer,
        judge: (HTTPClient.Answer) -> StoreError?
    ) throws(StoreError) -> HTTPClient.Answer {
        do throws(StoreError) {
            return try retries.run { () throws(StoreError) in
                let answer: HTTPClient.Answer
                do { answer = try attempt(http) } catch let error as TransportError {
                    let hint =
                        error.reason == .certificate
                        ? ": its certificate cannot be verified; install its authority's (package ca-certificates, update-ca-certificates)"
                        : ""
                    throw StoreError(
                        .away, "\(store) cannot be reached: \(error.words)\(hint)",
                        isTransient: error.reason != .certificate)
                } catch {
                    throw error as? StoreError ?? StoreError(.unavailable, "\(store): \(error)")
                }
                if (200..<300).contains(answer.status) { return answer }
                if let failure = judge(answer) { throw failure }
                return answer
            }
        } catch {
            // It has been tried here as often as it may.
            throw StoreError(error.code, error.message, cause: error.cause, isTransient: false)
        }
    }

    /// Whether an answer means that the same request may succeed later (RFC 9110, section 15).
    static func isTransient(_ status: Int) -> Bool { status == 408 || status == 429 || status >= 500 && status != 501 }

    /// A `Range` header; nil for all.
    static func range(_ range: Range<Int64>) -> String? {
        guard range.lowerBound > 0 || range.upperBound < .max else { return nil }
        return "bytes=\(range.lowerBound)-" + (range.upperBound < .max ? "\(range.upperBound - 1)" : "")
    }

    /// Bytes from the part of an object that an answer holds: all of it, should the engine not know ranges.
    static func cut(_ answer: HTTPClient.Answer, to range: Range<Int64>) -> [UInt8] {
        guard answer.status == 200, range.lowerBound > 0 || range.upperBound < Int64(answer.body.count) else {
            return answer.body
        }
        let end = Int(min(range.upperBound, Int64(answer.body.count)))
        return range.lowerBound >= end ? [] : Array(answer.body[Int(range.lowerBound)..<end])
    }
}
