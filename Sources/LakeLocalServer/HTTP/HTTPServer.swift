import CHTTP
package import Foundations
import Glibc
import Synchronization
import Versioning

/// HTTP over libmicrohttpd: epoll, a few threads, `sendfile`. Requests that block are worked off on a pool while their
/// connections are suspended. Source: libmicrohttpd manual; `architecture.md`, "Speed plan".
@safe package final class HTTPServer: @unchecked Sendable {
    // Set once in `start`, read by `stop`, both called by the owner's thread only.
    private var daemon: OpaquePointer?
    private var core: Unmanaged<Core>?
    private var listening: Int32 = -1
    private var acceptor: Thread?
    /// The port that is listened on.
    package private(set) var port: UInt16 = 0

    /// What requests work with; lives as long as the daemon.
    private final class Core: Sendable {
        let handler: any RequestHandler
        let pool: WorkerPool, long: WorkerPool
        let connections: Connections
        let budget: MemoryBudget
        let beginsInPool: Bool
        let suspended = SuspendedConnections()
        init(
            handler: any RequestHandler, pool: WorkerPool, long: WorkerPool, connections: Connections,
            budget: MemoryBudget, beginsInPool: Bool
        ) {
            self.beginsInPool = beginsInPool
            self.handler = handler
            self.pool = pool
            self.long = long
            self.connections = connections
            self.budget = budget
        }
    }

    package init() {}

    /// Begins to listen. Port 0 is any free port.
    /// - Parameters:
    ///   - pool: for requests that may wait; `long` for those that take as long as a repository is large.
    ///   - budget: what answers in memory are counted on.
    ///   - beginsInPool: whether even to look at a request may wait, as for an engine behind a network.
    ///   - isTLS: whether it speaks HTTPS, with what `TLSCertificate` was loaded with.
    /// - Throws: `LakeError` that names the address if it cannot be listened on.
    package func start(
        host: String, port: UInt16, handler: any RequestHandler, pool: WorkerPool, long: WorkerPool,
        budget: MemoryBudget, limits: Limits = Limits(), isTLS: Bool = false, beginsInPool: Bool = false
    ) throws {
        let socket = try Self.listen(host, port)
        self.port = Self.port(of: socket)
        let bounds = limits.fitting
        let connections = Connections(bounds)
        let core = unsafe Unmanaged.passRetained(
            Core(
                handler: handler, pool: pool, long: long, connections: connections, budget: budget,
                beginsInPool: beginsInPool))
        unsafe self.core = unsafe core
        // A limit for each of its threads that all connections together, and those about to end, cannot reach: see
        // `Connections`.
        let unreachable = Int(limits.threads) * (4 * bounds.most + 1024)
        var options: [MHD_OptionItem] = unsafe [
            MHD_OptionItem(option: MHD_OPTION.THREAD_POOL_SIZE, value: Int(limits.threads), ptr_value: nil),
            MHD_OptionItem(
                option: MHD_OPTION.CONNECTION_MEMORY_LIMIT, value: limits.connectionMemoryBytes, ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.CONNECTION_LIMIT, value: unreachable, ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.CONNECTION_TIMEOUT, value: Int(limits.idleSeconds) + 1, ptr_value: nil),
            // Its strictness ends connections without an answer: what it would refuse is refused by `Request`, and
            // said.
            MHD_OptionItem(option: MHD_OPTION.STRICT_FOR_CLIENT, value: 0, ptr_value: nil),
            MHD_OptionItem(
                option: MHD_OPTION.URI_LOG_CALLBACK,
                value: lake_http_uri { _, target, _ in
                    // The raw target, as signatures need it; becomes the request's context and is released when the
                    // request ends.
                    let exchange = unsafe Unmanaged.passRetained(Exchange(target: target!)).toOpaque()
                    // It would keep each argument in the connection's memory, and drop a request that has more of them
                    // than fit there. We take arguments from the raw target: to it they are one.
                    let text = unsafe UnsafeMutablePointer(mutating: target!)
                    for position in 0..<(unsafe strlen(text)) where unsafe text[position] == 0x26 {
                        unsafe text[position] = 0x5f
                    }
                    return unsafe exchange
                }, ptr_value: nil),
            unsafe MHD_OptionItem(
                option: MHD_OPTION.UNESCAPE_CALLBACK, value: lake_http_unescape { _, _, text in unsafe strlen(text!) },
                ptr_value: nil),
            unsafe MHD_OptionItem(
                option: MHD_OPTION.NOTIFY_COMPLETED,
                value: lake_http_completed { _, _, context, _ in
                    if let pointer = unsafe context?.pointee {
                        let exchange = unsafe Unmanaged<Exchange>.fromOpaque(pointer).takeRetainedValue()
                        exchange.connection?.enter(.waiting)
                        unsafe context!.pointee = nil
                    }
                }, ptr_value: nil),
            MHD_OptionItem(
                option: MHD_OPTION.NOTIFY_CONNECTION,
                value: lake_http_connection { core, connection, context, code in
                    let connections = unsafe Unmanaged<Core>.fromOpaque(core!).takeUnretainedValue().connections
                    let socket = unsafe lake_http_socket(connection)
                    if code == MHD_ConnectionNotificationCode.CONNECTION_NOTIFY_STARTED {
                        unsafe context!.pointee = connections.connection(socket).map {
                            unsafe Unmanaged.passRetained($0).toOpaque()
                        }
                    } else {
                        connections.ended(socket)
                        if let pointer = unsafe context?.pointee {
                            unsafe Unmanaged<Connections.Connection>.fromOpaque(pointer).release()
                        }
                    }
                }, ptr_value: unsafe core.toOpaque()),
            unsafe MHD_OptionItem(option: MHD_OPTION.END, value: 0, ptr_value: nil),
        ]
        if isTLS {
            unsafe options.insert(
                contentsOf: [
                    MHD_OptionItem(
                        option: MHD_OPTION.HTTPS_CERT_CALLBACK, value: 0, ptr_value: TLSCertificate.callback),
                    MHD_OptionItem(
                        option: MHD_OPTION.HTTPS_PRIORITIES, value: 0,
                        ptr_value: UnsafeMutableRawPointer(mutating: TLSCertificate.priorities.utf8Start)),
                ], at: 0)
        }
        let flags =
            (isTLS ? MHD_USE_TLS.rawValue : 0) | MHD_USE_EPOLL_INTERNAL_THREAD.rawValue
            | MHD_USE_NO_LISTEN_SOCKET.rawValue
            | MHD_ALLOW_SUSPEND_RESUME.rawValue | MHD_USE_TURBO.rawValue
        unsafe daemon = unsafe lake_http_start(
            flags,
            { core, connection, url, method, version, piece, pieceSize, context in
                guard let pointer = unsafe context?.pointee, let core = unsafe core, let connection = unsafe connection
                else { return MHD_Result.NO }
                let exchange = unsafe Unmanaged<Exchange>.fromOpaque(pointer).takeUnretainedValue()
                return unsafe exchange.proceed(
                    Unmanaged<Core>.fromOpaque(core).takeUnretainedValue(), connection,
                    FirstLine(method: method!, target: url!, version: version!), piece, pieceSize!)
            }, unsafe core.toOpaque(), &options)
        guard unsafe daemon != nil else {
            close(socket)
            unsafe core.release()
            throw LakeError(.unavailable, "the HTTP server did not start on \(host):\(port)")
        }
        connections.start()
        listening = socket
        let owner = unsafe Daemon(pointer: daemon!)
        acceptor = Thread(name: "http-accept") { Self.accept(socket, connections, for: owner) }
    }

    @safe private struct Daemon: @unchecked Sendable { let pointer: OpaquePointer }

    /// The parts of a request's first line, where they lie in the connection's memory: one behind the other.
    @safe private struct FirstLine {
        let method: UnsafePointer<CChar>, target: UnsafePointer<CChar>, version: UnsafePointer<CChar>

        /// Bytes between the beginning of the target and the version, the space before that left out.
        var targetLength: Int { unsafe version - target - 1 }
    }

    /// Accepts connections until the socket is shut down, and gives them to the daemon's threads in turn
    /// (MHD_add_connection); if those accepted themselves, the first to wake would take most of them.
    private static func accept(_ socket: Int32, _ connections: Connections, for daemon: Daemon) {
        while true {
            var address = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isAccepted = unsafe withUnsafeMutablePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                    let connection = unsafe lake_http_accept(socket, peer, &length)
                    guard connection >= 0 else { return false }
                    if connections.admit(connection, unsafe Peer(pointer.pointee)) {
                        // The daemon closes it if it cannot take it.
                        if unsafe MHD_add_connection(daemon.pointer, connection, peer, length) != MHD_Result.YES {
                            connections.ended(connection)
                        }
                    } else {
                        refuse(connection)
                    }
                    return true
                }
            }
            if isAccepted { continue }
            switch errno {
            case EINVAL, EBADF, ENOTSOCK: return  // Shut down.
            case EMFILE, ENFILE, ENOBUFS, ENOMEM: usleep(10_000)
            default: continue  // The peer is gone already, or the network is (accept(2), "Error handling").
            }
        }
    }

    private static let busy: [UInt8] = {
        let body =
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code><Message>Too many connections are open: try again.</Message></Error>"
        return Array(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nContent-Length: \(body.utf8.count)\r\nRetry-After: 1\r\nConnection: close\r\n\r\n\(body)"
                .utf8)
    }()

    /// Tells a connection for which there is no room so, as far as its buffer takes it, and ends it.
    private static func refuse(_ connection: Int32) {
        _ = unsafe busy.withUnsafeBytes {
            unsafe send(connection, $0.baseAddress, $0.count, Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
        }
        shutdown(connection, Int32(SHUT_WR))
        close(connection)
    }

    /// Seconds that requests under way have to end, and then the library.
    private static let stopSeconds = 10

    /// Ends what runs, then all connections; what has not ended in some seconds is left to the end of the process. Call
    /// once.
    /// - Returns: false if anything was left.
    @discardableResult
    package func stop() -> Bool {
        guard let daemon = unsafe daemon, let core = unsafe core else { return true }
        shutdown(listening, Int32(SHUT_RDWR))
        acceptor?.join()
        close(listening)
        let shared = unsafe core.takeUnretainedValue()
        shared.connections.stop()
        // Suspended connections must be resumed before the daemon may stop.
        for _ in 0..<Self.stopSeconds * 500 where !shared.suspended.close() { usleep(2000) }
        guard shared.suspended.close() else { return false }
        shared.connections.cutAll()
        let ended = CountingSemaphore()
        let owner = unsafe Daemon(pointer: daemon)
        let thread = Thread(name: "http-stop") {
            unsafe MHD_stop_daemon(owner.pointer)
            ended.post()
        }
        guard ended.wait(milliseconds: Self.stopSeconds * 1000) else { return false }
        thread.join()
        unsafe self.daemon = nil
        unsafe core.release()
        return true
    }

    private static func listen(_ host: String, _ port: UInt16) throws -> Int32 {
        var hints = unsafe addrinfo()
        var list: UnsafeMutablePointer<addrinfo>?
        unsafe hints.ai_flags = AI_PASSIVE
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let status = unsafe getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
        guard status == 0, let list = unsafe list else {
            throw LakeError(
                .invalidValue, unsafe "cannot listen on \(host):\(port): \(String(cString: gai_strerror(status)))")
        }
        defer { unsafe freeaddrinfo(list) }
        let descriptor = unsafe socket(
            list.pointee.ai_family, list.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard unsafe bind(descriptor, list.pointee.ai_addr, list.pointee.ai_addrlen) == 0,
            Glibc.listen(descriptor, 4096) == 0
        else {
            let reason =
                unsafe errno == EADDRINUSE
                ? "another program listens there: choose another --listen" : String(cString: strerror(errno))
            close(descriptor)
            throw LakeError(.invalidValue, "cannot listen on \(host):\(port): \(reason)")
        }
        return descriptor
    }

    private static func port(of socket: Int32) -> UInt16 {
        var address = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                _ = unsafe getsockname(socket, $0, &length)
            }
            return unsafe pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                unsafe UInt16(bigEndian: $0.pointee.sin_port)
            }
        }
    }

    /// One request on one connection, from its first line to its answer. libmicrohttpd calls it from the connection's
    /// thread only; while suspended, only the pool's work touches it.
    private final class Exchange: @unchecked Sendable {
        private let target: String
        /// Bytes of the target, up to the first that is zero; negative if it is not UTF-8.
        private let targetLength: Int
        fileprivate private(set) var connection: Connections.Connection?
        private var request: Request?
        private var sink: (any BodySink)?
        private var work: (@Sendable () -> Response)?
        private var isLong = false
        private var later: (@Sendable (@escaping @Sendable (Response) -> Void) -> Void)?
        private var refusal: Response?
        /// Handed over from the pool's thread.
        private let finished = Mutex<Response?>(nil)
        private let begun = Mutex<Begun?>(nil)

        init(target: UnsafePointer<CChar>) {
            let valid = unsafe String(validatingCString: target)
            self.target = valid ?? "/"
            targetLength = unsafe valid == nil ? -1 : strlen(target)
        }

        func proceed(
            _ core: Core, _ connection: OpaquePointer, _ line: FirstLine, _ piece: UnsafePointer<CChar>?,
            _ pieceSize: UnsafeMutablePointer<Int>
        ) -> MHD_Result {
            guard request != nil else {
                let request = unsafe read(connection, line)
                self.request = request
                self.connection?.enter(request.hasBody ? .receiving : .working)
                guard core.beginsInPool else {
                    return unsafe go(on: core.handler.begin(request), request, connection, core)
                }
                // Most of what a request needs to begin with is at hand.
                if let reception = Waiting.without({ core.handler.begin(request) }) {
                    return unsafe go(on: reception, request, connection, core)
                }
                // The library calls again from the start when it is resumed, and sends no `100 Continue` before.
                guard let resumable = unsafe core.suspended.suspend(connection) else { return MHD_Result.NO }
                core.pool.run { [self, handler = core.handler] in
                    var reception = handler.begin(request)
                    if case .work(let work) = reception, !request.hasBody { reception = .respond(work()) }
                    begun.withLock { $0 = Begun(reception: reception) }
                    resumable.resume()
                }
                return MHD_Result.YES
            }
            if let begun = begun.withLock({ $0.take() }), let request {
                return unsafe go(on: begun.reception, request, connection, core)
            }
            if unsafe pieceSize.pointee > 0 {
                if let sink, refusal == nil {
                    do throws(Refusal) {
                        unsafe try sink.receive(UnsafeRawBufferPointer(start: piece, count: pieceSize.pointee))
                    } catch {
                        // In the middle of a body no answer can be queued: the rest is passed over first.
                        refusal = error.response
                        self.sink = nil
                    }
                }
                unsafe pieceSize.pointee = 0
                return MHD_Result.YES
            }
            if let refusal { return unsafe send(refusal, connection, core) }
            if let response = finished.withLock({ $0.take() }) { return unsafe send(response, connection, core) }
            let (work, sink, later) = (work, sink, later)
            guard work != nil || sink != nil || later != nil else { return MHD_Result.NO }
            self.work = nil
            self.sink = nil
            self.later = nil
            self.connection?.enter(.working)
            guard let resumable = unsafe core.suspended.suspend(connection) else { return MHD_Result.NO }
            let answer: @Sendable (Response) -> Void = { [self] response in
                finished.withLock { $0 = response }
                resumable.resume()
            }
            if let later {
                later(answer)
                return MHD_Result.YES
            }
            if let sink, sink.finishSoon(answer) { return MHD_Result.YES }
            (isLong || sink?.isLong == true ? core.long : core.pool).run { answer(work?() ?? sink!.finish()) }
            return MHD_Result.YES
        }

        private func go(on reception: Reception, _ request: Request, _ connection: OpaquePointer, _ core: Core)
            -> MHD_Result
        {
            switch reception {
            case .respond(var response):
                // Where the request ends is not known: nothing that follows on this connection is one.
                if request.fault != nil { response.headers.append(("Connection", "close")) }
                // Answered before its body is read: the connection ends with it. Without a body the answer waits for the
                // next call, which lets the connection live on.
                if request.hasBody || request.fault != nil { return unsafe send(response, connection, core) }
                finished.withLock { $0 = response }
            case .work(let work): self.work = work
            case .long(let work):
                self.work = work
                isLong = true
            case .later(let later): self.later = later
            case .body(let sink): self.sink = sink
            }
            return MHD_Result.YES
        }

        /// On its way between two threads.
        private struct Begun: @unchecked Sendable { let reception: Reception }

        private final class Headers {
            var list: [(String, String)] = []
            var fault: String?
        }

        private func read(_ connection: OpaquePointer, _ line: FirstLine) -> Request {
            if let context = unsafe lake_http_socket_context(connection) {
                self.connection = unsafe Unmanaged<Connections.Connection>.fromOpaque(context).takeUnretainedValue()
            }
            let headers = Headers()
            unsafe MHD_get_connection_values_n(
                connection, MHD_ValueKind.HEADER_KIND,
                { context, _, name, nameSize, value, valueSize in
                    let headers = unsafe Unmanaged<Headers>.fromOpaque(context!).takeUnretainedValue()
                    guard let name = unsafe name, let value = unsafe value else { return MHD_Result.YES }
                    unsafe headers.list.append(
                        (
                            String(decoding: UnsafeRawBufferPointer(start: name, count: nameSize), as: UTF8.self),
                            String(decoding: UnsafeRawBufferPointer(start: value, count: valueSize), as: UTF8.self)
                        ))
                    // The library ends a value at its first zero byte, and writes zeros over the two bytes that end its
                    // line. What follows a value otherwise is the rest of a value that had a zero in it, or a line that
                    // ended without a CR.
                    if unsafe value[valueSize] != 0 || (value[valueSize + 1] != 0 && value[valueSize + 1] != 0x0a) {
                        headers.fault = "a header's line holds a zero byte, or does not end with CR LF"
                    }
                    return MHD_Result.YES
                }, unsafe Unmanaged.passUnretained(headers).toOpaque())
            var fault = headers.fault
            if targetLength < 0 { fault = "the request's target is not UTF-8: other bytes must be percent-encoded" }
            if targetLength >= 0 && targetLength != line.targetLength {
                fault = "the request's first line holds a zero byte or a space too many"
            }
            let version = unsafe String(cString: line.version)
            if version != "HTTP/1.1" && version != "HTTP/1.0" {
                fault = fault ?? "the version '\(version.prefix(20))' is not known: HTTP/1.1 is"
            }
            return unsafe Request(
                method: String(cString: line.method), target: target, headers: headers.list,
                peer: self.connection?.peer, version: version, fault: fault)
        }

        /// Pieces of an answer, as far as they are not sent. The library asks for one after the other.
        private final class Pieces: @unchecked Sendable {
            private let next: @Sendable () throws -> [UInt8]
            private var rest: ArraySlice<UInt8> = []
            init(_ next: @escaping @Sendable () throws -> [UInt8]) { self.next = next }

            /// Up to a number of bytes; none at the end.
            func take(_ most: Int) throws -> [UInt8] {
                if rest.isEmpty { rest = try next()[...] }
                defer { rest = rest.dropFirst(most) }
                return Array(rest.prefix(most))
            }
        }

        /// An answer in memory, and its share of the budget; both go when its last byte is sent.
        @safe private final class Kept {
            private var share: MemoryBudget.Share
            let bytes: UnsafeMutableRawBufferPointer

            /// Nil if the budget has no room.
            init?(_ bytes: [UInt8], of budget: MemoryBudget) {
                share = MemoryBudget.Share(of: budget)
                guard share.grow(by: bytes.count) else { return nil }
                unsafe self.bytes = .allocate(byteCount: bytes.count, alignment: 1)
                unsafe self.bytes.copyBytes(from: bytes)
            }

            deinit { unsafe bytes.deallocate() }
        }

        /// Bytes of an answer that is not counted: what fits a connection's own memory.
        private static let uncounted = 32 * 1024

        private func send(_ response: Response, _ connection: OpaquePointer, _ core: Core) -> MHD_Result {
            self.connection?.enter(.answering)
            let made: OpaquePointer?
            let socket = unsafe lake_http_socket(connection)
            // What is read from afar is read on the pool, and the connection's thread is free meanwhile.
            let lent = unsafe core.beginsInPool ? LentConnection(connection, core.pool, core.suspended) : nil
            switch response.body {
            case .bytes(let bytes) where bytes.count > Self.uncounted:
                guard let kept = Kept(bytes, of: core.budget) else {
                    return unsafe send(core.handler.slowDown(request!), connection, core)
                }
                unsafe made = MHD_create_response_from_buffer_with_free_callback_cls(
                    kept.bytes.count, kept.bytes.baseAddress, { unsafe Unmanaged<Kept>.fromOpaque($0!).release() },
                    Unmanaged.passRetained(kept).toOpaque())
            case .bytes(let bytes):
                unsafe made = bytes.withUnsafeBytes {
                    unsafe MHD_create_response_from_buffer(
                        $0.count, UnsafeMutableRawPointer(mutating: $0.baseAddress),
                        MHD_ResponseMemoryMode.RESPMEM_MUST_COPY)
                }
            case .file(let piece) where piece.byteCount == 0:
                close(piece.descriptor)
                unsafe made = MHD_create_response_from_buffer(0, nil, MHD_ResponseMemoryMode.RESPMEM_PERSISTENT)
            case .file(let piece):
                unsafe made = unsafe MHD_create_response_from_fd_at_offset64(
                    UInt64(piece.byteCount), piece.descriptor, UInt64(piece.offset))
            case .announced(let count):
                unsafe made = unsafe MHD_create_response_from_callback(
                    UInt64(count), 4096, { _, _, _, _ in Int(MHD_CONTENT_READER_END_WITH_ERROR) }, nil, nil)
            case .stream(let count, let read):
                unsafe made = BodyStream(socket, lent: lent, read).response(of: UInt64(count))
            case .events(let queue):
                unsafe made = unsafe EventStream(
                    queue, EventStream.EventConnection(connection: connection, suspended: core.suspended)
                ).response()
            case .pieces(let next):
                let pieces = Pieces(next)
                unsafe made = BodyStream(socket, lent: lent, isOpenEnded: true) { try pieces.take($1) }
                    .response(of: UInt64.max)
            }
            guard let made = unsafe made else { return MHD_Result.NO }
            defer { unsafe MHD_destroy_response(made) }
            let request = request!
            unsafe MHD_add_response_header(
                made, request.note.isS3 ? "x-amz-request-id" : "X-Request-Id", request.note.id)
            if request.note.isS3 { unsafe MHD_add_response_header(made, "x-amz-id-2", "lakefuse") }
            for header in core.handler.headers(for: request) {
                unsafe MHD_add_response_header(made, header.name, header.value)
            }
            core.handler.answered(request, response)
            for header in response.headers {
                unsafe MHD_add_response_header(made, header.name, header.value.isEmpty ? " " : header.value)
            }  // It takes no empty one.
            return unsafe MHD_queue_response(connection, UInt32(response.status), made)
        }
    }
}
