import Foundations
import Transport
import Versioning

/// Takes the body of an S3 request: unwraps `aws-chunked`, checks length, payload hash and checksums, and only then
/// lets the request go on. Nothing becomes visible of a body that is not what it was said to be.
final class PayloadSink: BodySink, @unchecked Sendable {
    /// What was written.
    struct Written {
        let upload: Upload
        /// Those that were sent and were right, or asked for.
        let checksums: [S3Checksum.Value]
        /// The one that is kept.
        var checksum: S3Checksum.Value? { checksums.first }
        /// Headers that give them back.
        var checksumHeaders: [(name: String, value: String)] { checksums.map { ($0.algorithm.header, $0.text) } }
    }

    // One thread at a time feeds and finishes a sink, as the protocol says.
    private let call: S3Call
    private let gateway: S3Gateway
    private let upload: Upload?
    private let limit: Int
    private let work: @Sendable ([UInt8], Written?) throws -> Response
    private let soon: Soon?
    private var bytes: [UInt8] = []
    private var share: MemoryBudget.Share
    private var chunked: ChunkedBody?
    private var payloadHash: HashBox?
    private var checksums: [S3Checksum]
    /// Names of trailers that the request announces.
    private let trailers: [String]
    private var size: Int64 = 0
    private let wantedMD5: [UInt8]?
    private var md5: HashBox?

    private final class HashBox {
        var hash: Hash
        init(_ algorithm: Hash.Algorithm) { hash = Hash(algorithm) }
    }

    /// Does something with what was written, without blocking; then its closure gets the answer, or what went wrong.
    typealias Soon = @Sendable (Written, @escaping @Sendable (Result<Response, any Error>) -> Void) throws -> Void

    /// Bytes of memory that a byte of a document may take while it is read.
    private static let expansion = 8

    /// - Parameters:
    ///   - upload: where the bytes go; nil keeps them in memory, up to `limit`.
    ///   - computes: a checksum that is wanted though the request has none.
    ///   - soon: what it does with a small upload, if that can be done without blocking.
    ///   - work: what the request does with the body, once it is all there and right.
    init(
        call: S3Call, gateway: S3Gateway, upload: Upload?, limit: Int,
        checksIt: Bool = true, computes: S3Checksum.Algorithm? = nil, soon: Soon? = nil,
        work: @escaping @Sendable ([UInt8], Written?) throws -> Response
    ) throws {
        self.call = call
        self.gateway = gateway
        self.upload = upload
        self.limit = limit
        self.work = work
        self.soon = soon
        share = MemoryBudget.Share(of: gateway.budget)
        switch call.identity.payload {
        case .unsigned: break
        case .hash: payloadHash = HashBox(.sha256)
        case .chunked(let signing): chunked = ChunkedBody(signing: signing)
        }
        let trailers = (call.request.header("x-amz-trailer") ?? "").lowercased().split(separator: ",").map {
            $0.filter { $0 != " " && $0 != "\t" }
        }
        self.trailers = trailers
        checksums = S3Checksum.Algorithm.allCases.filter {
            $0 == computes || checksIt && (call.request.header($0.header) != nil || trailers.contains($0.header))
        }.map { S3Checksum($0) }
        if let header = call.request.header("content-md5") {
            guard let digest = Base64.decode(header), digest.count == 16 else {
                throw S3Error(400, "InvalidDigest", "The Content-MD5 you specified is not valid.")
            }
            wantedMD5 = digest
            if upload == nil { md5 = HashBox(.md5) }
        } else {
            wantedMD5 = nil
        }
    }

    private func take(_ piece: UnsafeRawBufferPointer) throws {
        size += Int64(piece.count)
        for index in checksums.indices { unsafe checksums[index].update(piece) }
        if let upload {
            unsafe try upload.write(piece)
        } else {
            guard bytes.count + piece.count <= limit else {
                throw S3Error(400, "MaxMessageLengthExceeded", "Your request was too big.")
            }
            guard share.grow(by: piece.count * Self.expansion) else { throw S3Error.slowDown }
            unsafe bytes.append(contentsOf: piece)
            unsafe md5?.hash.update(piece)
        }
    }

    func receive(_ piece: UnsafeRawBufferPointer) throws(Refusal) {
        do {
            unsafe payloadHash?.hash.update(piece)
            guard chunked != nil else { return unsafe try take(piece) }
            unsafe try chunked!.feed(piece) { unsafe try take($0) }
        } catch {
            upload?.drop()
            throw Refusal(gateway.failure(S3Error(error, isWrite: true), call, to: call.request))
        }
    }

    /// An upload of a body that is all there and right.
    private func written(to upload: Upload) throws -> Written {
        try check()
        if let wantedMD5, wantedMD5 != upload.digest() { throw Self.badDigest("Content-MD5") }
        return Written(upload: upload, checksums: results)
    }

    private func failure(_ error: any Error) -> Response {
        upload?.drop()
        return gateway.failure(S3Error(error, isWrite: true), call, to: call.request)
    }

    func finish() -> Response {
        do {
            guard let upload else {
                try check()
                return try work(bytes, nil)
            }
            return try work([], written(to: upload))
        } catch {
            return failure(error)
        }
    }

    func finishSoon(_ answer: @escaping @Sendable (Response) -> Void) -> Bool {
        guard let soon, let upload, upload.finishesAtOnce else { return false }
        do {
            try soon(written(to: upload)) { [self] result in
                switch result {
                case .success(let response): answer(response)
                case .failure(let error): answer(failure(error))
                }
            }
        } catch {
            answer(failure(error))
        }
        return true
    }

    private static func badDigest(_ name: String) -> S3Error {
        S3Error(400, "BadDigest", "The \(name) you specified did not match what we received.")
    }

    private var results: [S3Checksum.Value] = []

    private func check() throws {
        if let chunked {
            guard chunked.isComplete else { throw S3Error.incompleteBody }
            if let header = call.request.header("x-amz-decoded-content-length") {
                guard Int64(header) == size else { throw S3Error.incompleteBody }
            }
        }
        if case .hash(let wanted) = call.identity.payload, let payloadHash,
            Hex.text(payloadHash.hash.finish()) != wanted
        {
            throw S3Error(
                400, "XAmzContentSHA256Mismatch",
                "The provided 'x-amz-content-sha256' header does not match what was computed.")
        }
        for checksum in checksums {
            let name = checksum.algorithm.header
            let value = checksum.base64()
            guard let wanted = call.request.header(name) ?? chunked?.trailers.first(where: { $0.name == name })?.value
            else {
                guard !trailers.contains(name) else {
                    throw S3Error(400, "InvalidRequest", "The trailer \(name) that was announced did not come.")
                }
                results.append(S3Checksum.Value(checksum.algorithm, value))
                continue
            }
            guard let decoded = Base64.decode(wanted), decoded.count == Base64.decode(value)!.count else {
                throw S3Error(400, "InvalidRequest", "Value for \(name) header is invalid.")
            }
            guard Base64.encode(decoded) == value else { throw Self.badDigest(name) }
            results.append(S3Checksum.Value(checksum.algorithm, value))
        }
        if let md5, let wantedMD5, md5.hash.finish() != wantedMD5 { throw Self.badDigest("Content-MD5") }
    }
}
