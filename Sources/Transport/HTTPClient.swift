import CCurl
import Foundations
import Synchronization

/// What a request to another server failed with before there was an answer.
package struct TransportError: Error, CustomStringConvertible, Sendable {
    package enum Reason: Sendable {
        /// Nobody listens there.
        case refused
        /// It took longer than was allowed.
        case timedOut
        /// Whoever took the body wanted no more of it.
        case cut
        /// The server's certificate is not one that can be trusted.
        case certificate
        case other
    }

    package let description: String
    package var reason = Reason.other
    /// What the library says of it, without the request.
    package var words = ""

    package init(description: String, reason: Reason = .other, words: String = "") {
        self.description = description
        self.reason = reason
        self.words = words
    }
}

/// Outgoing HTTP over libcurl's easy interface. Handles are kept, so connections stay open. Safe from any thread.
package final class HTTPClient: Sendable {
    /// An answer: its body is what the request's `sink` did not take.
    package struct Answer: Sendable {
        package var status = 0
        /// `HTTP/1.1 200 OK`.
        package var statusLine = ""
        /// Where a redirection leads, made absolute; nil if the answer is none.
        package var redirect: String?
        /// Lower-case names.
        package var headers: [(name: String, value: String)] = []
        package var body: [UInt8] = []
        package init() {}
        package func header(_ name: String) -> String? { headers.last { $0.name == name }?.value }
    }

    /// What is sent.
    @safe package enum Body {
        case none
        case bytes([UInt8])
        /// `read` fills a buffer and returns how many bytes it put there; 0 at the end.
        case stream(byteCount: Int64, read: (UnsafeMutableRawBufferPointer) -> Int)
    }

    /// A lent easy handle: used by one thread at a time.
    @safe private struct Handle: @unchecked Sendable {
        let pointer: UnsafeMutableRawPointer = unsafe curl_easy_init()
    }
    private let idle = Mutex<[Handle]>([])
    private static let initialised: Void = { curl_global_init(Int(CURL_GLOBAL_DEFAULT)) }()

    private let connectSeconds: Int, stallSeconds: Int
    private let verifiesCertificates: Bool

    /// - Parameters:
    ///   - connectSeconds: how long a server may take to accept a connection.
    ///   - stallSeconds: how long less than a byte a second may come or go before a transfer is given up; 0 for as long
    ///     as it takes.
    ///   - verifiesCertificates: false for tests alone.
    package init(connectSeconds: Int = 10, stallSeconds: Int = 0, verifiesCertificates: Bool = true) {
        self.verifiesCertificates = verifiesCertificates
        Self.initialised
        self.connectSeconds = connectSeconds
        self.stallSeconds = stallSeconds
    }

    deinit { idle.withLock { for handle in $0 { unsafe curl_easy_cleanup(handle.pointer) } } }

    /// What the callbacks of one request work on.
    @safe private final class Exchange {
        var answer = Answer()
        var sent: [UInt8] = []
        var sentCount = 0
        var read: ((UnsafeMutableRawBufferPointer) -> Int)?
        var sink: ((Int, UnsafeRawBufferPointer) -> Bool)?
    }

    /// Bytes of an answer that is kept in memory.
    private static let largestAnswer = 1 << 20

    /// Sends a small request and waits for a small answer.
    /// - Throws: `TransportError` if there is no answer, or a larger one.
    package func fetch(
        _ method: String, _ url: String, headers: [(String, String)] = [], body: [UInt8]? = nil
    ) throws -> Answer {
        var bytes: [UInt8] = []
        var answer = unsafe try send(method, url, headers: headers, body: body.map { .bytes($0) } ?? .none) {
            _, piece in
            guard bytes.count + piece.count <= Self.largestAnswer else { return false }
            unsafe bytes.append(contentsOf: piece)
            return true
        }
        answer.body = bytes
        return answer
    }

    /// Sends a request and waits for the answer.
    /// - Parameters:
    ///   - sink: takes pieces of the body as they come, with the status; false ends the transfer. Nil keeps the
    ///   body in the answer.
    ///   - milliseconds: how long all of it may take; nil for as long as it takes.
    ///   - decodes: whether the body may come compressed; the sink gets it as it was.
    /// - Throws: `TransportError` if there is no answer.
    package func send(
        _ method: String, _ url: String, headers: [(String, String)] = [], body: Body = .none,
        milliseconds: Int? = nil, decodes: Bool = false, sink: ((Int, UnsafeRawBufferPointer) -> Bool)? = nil
    ) throws -> Answer {
        for (name, value) in headers where (name + value).utf8.contains(where: { $0 == 0x0d || $0 == 0x0a || $0 == 0 })
        {
            throw TransportError(description: "the header '\(name.prefix(40))' holds the end of a line")
        }
        let handle = idle.withLock { $0.popLast() } ?? Handle()
        let curl = unsafe handle.pointer
        let exchange = Exchange()
        defer {
            unsafe curl_easy_reset(curl)
            idle.withLock { $0.append(handle) }
        }
        unsafe exchange.sink = unsafe sink
        // Unretained: the exchange outlives `curl_easy_perform`, after which no callback runs.
        let context = unsafe Unmanaged.passUnretained(exchange).toOpaque()
        unsafe lake_curl_set_string(curl, CURLOPT_URL, url)
        unsafe lake_curl_set_string(curl, CURLOPT_CUSTOMREQUEST, method)
        // The library reads and writes files too, and speaks with whatever listens.
        guard unsafe lake_curl_set_string(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK else {
            throw TransportError(description: "\(method) \(url): the library does not bound its protocols")
        }
        unsafe lake_curl_set_long(curl, CURLOPT_NOSIGNAL, 1)
        unsafe lake_curl_set_long(curl, CURLOPT_CONNECTTIMEOUT, connectSeconds)
        if stallSeconds > 0 {
            unsafe lake_curl_set_long(curl, CURLOPT_LOW_SPEED_LIMIT, 1)
            unsafe lake_curl_set_long(curl, CURLOPT_LOW_SPEED_TIME, stallSeconds)
        }
        if !verifiesCertificates {
            unsafe lake_curl_set_long(curl, CURLOPT_SSL_VERIFYPEER, 0)
            unsafe lake_curl_set_long(curl, CURLOPT_SSL_VERIFYHOST, 0)
        }
        if let milliseconds { unsafe lake_curl_set_long(curl, CURLOPT_TIMEOUT_MS, max(1, milliseconds)) }
        if decodes { unsafe lake_curl_set_string(curl, CURLOPT_ACCEPT_ENCODING, "gzip") }
        unsafe lake_curl_set_long(curl, CURLOPT_PATH_AS_IS, 1)
        if method == "HEAD" { unsafe lake_curl_set_long(curl, CURLOPT_NOBODY, 1) }
        var list: UnsafeMutablePointer<curl_slist>?
        // A colon and nothing behind it would leave the header out.
        for (name, value) in headers {
            unsafe list = unsafe curl_slist_append(list, value.isEmpty ? name + ";" : "\(name): \(value)")
        }
        if !headers.contains(where: { $0.0.lowercased() == "accept" }) {
            unsafe list = unsafe curl_slist_append(list, "Accept:")
        }
        unsafe list = unsafe curl_slist_append(list, "Expect:")
        defer { unsafe curl_slist_free_all(list) }
        unsafe lake_curl_set_pointer(curl, CURLOPT_HTTPHEADER, list)
        switch body {
        case .none: break
        case .bytes(let bytes):
            exchange.sent = bytes
            unsafe exchange.read = { [unowned exchange] buffer in
                let count = min(buffer.count, exchange.sent.count - exchange.sentCount)
                unsafe exchange.sent.withUnsafeBytes {
                    unsafe buffer.copyMemory(
                        from: UnsafeRawBufferPointer(rebasing: $0[exchange.sentCount..<exchange.sentCount + count]))
                }
                exchange.sentCount += count
                return count
            }
            unsafe lake_curl_set_long(curl, CURLOPT_UPLOAD, 1)
            unsafe lake_curl_set_offset(curl, CURLOPT_INFILESIZE_LARGE, curl_off_t(bytes.count))
        case .stream(let byteCount, let read):
            unsafe exchange.read = unsafe read
            unsafe lake_curl_set_long(curl, CURLOPT_UPLOAD, 1)
            unsafe lake_curl_set_offset(curl, CURLOPT_INFILESIZE_LARGE, curl_off_t(byteCount))
        }
        unsafe lake_curl_set_transfer(curl, CURLOPT_READFUNCTION) { bytes, size, count, context in
            let exchange = unsafe Unmanaged<Exchange>.fromOpaque(context!).takeUnretainedValue()
            return unsafe exchange.read?(UnsafeMutableRawBufferPointer(start: bytes, count: size * count)) ?? 0
        }
        unsafe lake_curl_set_pointer(curl, CURLOPT_READDATA, context)
        unsafe lake_curl_set_transfer(curl, CURLOPT_HEADERFUNCTION) { bytes, size, count, context in
            let exchange = unsafe Unmanaged<Exchange>.fromOpaque(context!).takeUnretainedValue()
            let line = unsafe String(decoding: UnsafeRawBufferPointer(start: bytes, count: size * count), as: UTF8.self)
            if line.hasPrefix("HTTP/") {
                exchange.answer.headers = []
                exchange.answer.statusLine = String(line.prefix { $0 != "\r\n" && $0 != "\r" && $0 != "\n" })
                exchange.answer.status = line.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
            } else if let colon = line.firstIndex(of: ":") {
                let value = line[line.index(after: colon)...].trimmingPrefix { $0 == " " }
                exchange.answer.headers.append(
                    (line[..<colon].lowercased(), String(value.prefix { $0 != "\r\n" && $0 != "\r" && $0 != "\n" })))
            }
            return size * count
        }
        unsafe lake_curl_set_pointer(curl, CURLOPT_HEADERDATA, context)
        unsafe lake_curl_set_transfer(curl, CURLOPT_WRITEFUNCTION) { bytes, size, count, context in
            let exchange = unsafe Unmanaged<Exchange>.fromOpaque(context!).takeUnretainedValue()
            let piece = unsafe UnsafeRawBufferPointer(start: bytes, count: size * count)
            if let sink = unsafe exchange.sink { return unsafe sink(exchange.answer.status, piece) ? size * count : 0 }
            unsafe exchange.answer.body.append(contentsOf: piece)
            return size * count
        }
        unsafe lake_curl_set_pointer(curl, CURLOPT_WRITEDATA, context)
        let status = unsafe curl_easy_perform(curl)
        guard status == CURLE_OK else {
            let words = unsafe String(cString: curl_easy_strerror(status))
            throw TransportError(
                description: "\(method) \(url): \(words)", reason: Self.reason(of: status), words: words)
        }
        if (300..<400).contains(exchange.answer.status) {
            exchange.answer.redirect = unsafe lake_curl_redirect(curl).map { unsafe String(cString: $0) }
        }
        return exchange.answer
    }

    private static func reason(of status: CURLcode) -> TransportError.Reason {
        switch status {
        case CURLE_COULDNT_CONNECT: .refused
        case CURLE_OPERATION_TIMEDOUT: .timedOut
        case CURLE_WRITE_ERROR: .cut
        case CURLE_PEER_FAILED_VERIFICATION, CURLE_SSL_CACERT_BADFILE: .certificate
        default: .other
        }
    }
}
