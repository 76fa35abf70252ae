import CHTTP
import Glibc
import Synchronization
package import Versioning

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
        let pool: WorkerPool
        let running = Atomic<Int>(0)
        init(handler: any RequestHandler, pool: WorkerPool) {
            self.handler = handler
            self.pool = pool
        }
    }

    /// How libmicrohttpd is to run.
    package struct Limits: Sendable {
        /// Threads that read and answer.
        package var threads: UInt32 = 4
        /// Bytes of memory a connection; also the size of a body's pieces. It is cleared for every request, so more of it
        /// makes small requests slower than it makes large bodies faster.
        package var connectionMemoryBytes = 64 * 1024
        package var connections: UInt32 = 4096
        /// Seconds after which an idle connection is closed.
        package var idleSeconds: UInt32 = 300
        package init() {}
    }

    package init() {}

    /// Begins to listen. Port 0 is any free port.
    /// - Throws: `LakeError` that names the address if it cannot be listened on.
    package func start(host: String, port: UInt16, handler: any RequestHandler, pool: WorkerPool, limits: Limits = Limits()) throws {
        let socket = try Self.listen(host, port)
        self.port = Self.port(of: socket)
        let core = unsafe Unmanaged.passRetained(Core(handler: handler, pool: pool))
        unsafe self.core = unsafe core
        var options: [MHD_OptionItem] = unsafe [
            MHD_OptionItem(option: MHD_OPTION.THREAD_POOL_SIZE, value: Int(limits.threads), ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.CONNECTION_MEMORY_LIMIT, value: limits.connectionMemoryBytes, ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.CONNECTION_LIMIT, value: Int(limits.connections), ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.CONNECTION_TIMEOUT, value: Int(limits.idleSeconds), ptr_value: nil),
            MHD_OptionItem(option: MHD_OPTION.URI_LOG_CALLBACK, value: lake_http_uri { _, target, _ in
                // The raw target, as signatures need it; becomes the request's context and is released when the request ends.
                unsafe Unmanaged.passRetained(Exchange(target: String(cString: target!))).toOpaque()
            }, ptr_value: nil),
            unsafe MHD_OptionItem(option: MHD_OPTION.UNESCAPE_CALLBACK, value: lake_http_unescape { _, _, text in unsafe strlen(text!) }, ptr_value: nil),
            unsafe MHD_OptionItem(option: MHD_OPTION.NOTIFY_COMPLETED, value: lake_http_completed { _, _, context, _ in
                if let pointer = unsafe context?.pointee {
                    unsafe Unmanaged<Exchange>.fromOpaque(pointer).release()
                    unsafe context!.pointee = nil
                }
            }, ptr_value: nil),
            unsafe MHD_OptionItem(option: MHD_OPTION.END, value: 0, ptr_value: nil),
        ]
        let flags = MHD_USE_EPOLL_INTERNAL_THREAD.rawValue | MHD_USE_NO_LISTEN_SOCKET.rawValue | MHD_ALLOW_SUSPEND_RESUME.rawValue | MHD_USE_TURBO.rawValue
        unsafe daemon = unsafe lake_http_start(flags, { core, connection, _, method, _, piece, pieceSize, context in
            guard let pointer = unsafe context?.pointee, let core = unsafe core, let connection = unsafe connection else { return MHD_Result.NO }
            let exchange = unsafe Unmanaged<Exchange>.fromOpaque(pointer).takeUnretainedValue()
            return unsafe exchange.proceed(Unmanaged<Core>.fromOpaque(core).takeUnretainedValue(), connection, String(cString: method!), piece, pieceSize!)
        }, unsafe core.toOpaque(), &options)
        guard unsafe daemon != nil else {
            close(socket)
            unsafe core.release()
            throw LakeError(.unavailable, "the HTTP server did not start on \(host):\(port)")
        }
        listening = socket
        let owner = unsafe Daemon(pointer: daemon!)
        acceptor = Thread(name: "http-accept") { Self.accept(socket, for: owner) }
    }

    @safe private struct Daemon: @unchecked Sendable { let pointer: OpaquePointer }

    /// Accepts connections until the socket is shut down, and gives them to the daemon's threads in turn
    /// (MHD_add_connection); if those accepted themselves, the first to wake would take most of them.
    private static func accept(_ socket: Int32, for daemon: Daemon) {
        while true {
            var address = sockaddr_storage(), length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let isAccepted = unsafe withUnsafeMutablePointer(to: &address) { pointer in
                unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { peer in
                    let connection = unsafe lake_http_accept(socket, peer, &length)
                    // The daemon closes it if it has no room.
                    if connection >= 0 { _ = unsafe MHD_add_connection(daemon.pointer, connection, peer, length) }
                    return connection >= 0
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

    /// Ends what runs, then all connections. Call once.
    package func stop() {
        guard let daemon = unsafe daemon, let core = unsafe core else { return }
        shutdown(listening, Int32(SHUT_RDWR))
        acceptor?.join()
        close(listening)
        // Suspended connections must be resumed before the daemon may stop.
        while unsafe core.takeUnretainedValue().running.load(ordering: .acquiring) > 0 { usleep(2000) }
        unsafe MHD_stop_daemon(daemon)
        unsafe self.daemon = nil
        unsafe core.release()
    }

    private static func listen(_ host: String, _ port: UInt16) throws -> Int32 {
        var hints = unsafe addrinfo(), list: UnsafeMutablePointer<addrinfo>?
        unsafe hints.ai_flags = AI_PASSIVE
        unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        let status = unsafe getaddrinfo(host.isEmpty ? nil : host, String(port), &hints, &list)
        guard status == 0, let list = unsafe list else { throw LakeError(.invalidValue, unsafe "cannot listen on \(host):\(port): \(String(cString: gai_strerror(status)))") }
        defer { unsafe freeaddrinfo(list) }
        let descriptor = unsafe socket(list.pointee.ai_family, list.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
        var one: Int32 = 1
        unsafe setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<Int32>.size))
        guard unsafe bind(descriptor, list.pointee.ai_addr, list.pointee.ai_addrlen) == 0, Glibc.listen(descriptor, 4096) == 0 else {
            let reason = unsafe errno == EADDRINUSE ? "another program listens there: choose another --listen" : String(cString: strerror(errno))
            close(descriptor)
            throw LakeError(.invalidValue, "cannot listen on \(host):\(port): \(reason)")
        }
        return descriptor
    }

    private static func port(of socket: Int32) -> UInt16 {
        var address = sockaddr_storage(), length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        return unsafe withUnsafeMutablePointer(to: &address) { pointer in
            unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { _ = unsafe getsockname(socket, $0, &length) }
            return unsafe pointer.withMemoryRebound(to: sockaddr_in.self, capacity: 1) { unsafe UInt16(bigEndian: $0.pointee.sin_port) }
        }
    }

    /// One request on one connection, from its first line to its answer. libmicrohttpd calls it from the connection's
    /// thread only; while suspended, only the pool's work touches it.
    private final class Exchange: @unchecked Sendable {
        private let target: String
        private var isBegun = false
        private var sink: (any BodySink)?
        private var work: (@Sendable () -> Response)?
        private var refusal: Response?
        /// Handed over from the pool's thread.
        private let finished = Mutex<Response?>(nil)

        init(target: String) { self.target = target }

        func proceed(_ core: Core, _ connection: OpaquePointer, _ method: String, _ piece: UnsafePointer<CChar>?, _ pieceSize: UnsafeMutablePointer<Int>) -> MHD_Result {
            guard isBegun else {
                isBegun = true
                let request = unsafe request(connection, method), hasBody = request.hasBody
                switch core.handler.begin(request) {
                case .respond(let response):
                    // Answered before its body is read: the connection ends with it. Without a body the answer waits for
                    // the next call, which lets the connection live on.
                    if hasBody { return unsafe send(response, connection) }
                    finished.withLock { $0 = response }
                case .work(let work): self.work = work
                case .body(let sink): self.sink = sink
                }
                return MHD_Result.YES
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
            if let refusal { return unsafe send(refusal, connection) }
            if let response = finished.withLock({ $0.take() }) { return unsafe send(response, connection) }
            let (work, sink) = (work, sink)
            guard work != nil || sink != nil else { return MHD_Result.NO }
            self.work = nil
            self.sink = nil
            core.running.add(1, ordering: .relaxed)
            unsafe MHD_suspend_connection(connection)
            let resumable = unsafe Resumable(connection: connection)
            let answer: @Sendable (Response) -> Void = { [self] response in
                finished.withLock { $0 = response }
                unsafe MHD_resume_connection(resumable.connection)
                core.running.subtract(1, ordering: .releasing)
            }
            if let sink, sink.finishSoon(answer) { return MHD_Result.YES }
            core.pool.run { answer(work?() ?? sink!.finish()) }
            return MHD_Result.YES
        }

        /// A suspended connection: only who resumes it touches it.
        @safe private struct Resumable: @unchecked Sendable { let connection: OpaquePointer }

        private final class Headers { var list: [(String, String)] = [] }

        private func request(_ connection: OpaquePointer, _ method: String) -> Request {
            let headers = Headers()
            unsafe MHD_get_connection_values(connection, MHD_ValueKind.HEADER_KIND, { context, _, name, value in
                let headers = unsafe Unmanaged<Headers>.fromOpaque(context!).takeUnretainedValue()
                unsafe headers.list.append((String(cString: name!), value.map { unsafe String(cString: $0) } ?? ""))
                return MHD_Result.YES
            }, unsafe Unmanaged.passUnretained(headers).toOpaque())
            return Request(method: method, target: target, headers: headers.list)
        }

        private final class Stream {
            let read: @Sendable (Int64, Int) throws -> [UInt8]
            init(_ read: @escaping @Sendable (Int64, Int) throws -> [UInt8]) { self.read = read }
        }

        private func send(_ response: Response, _ connection: OpaquePointer) -> MHD_Result {
            let made: OpaquePointer?
            switch response.body {
            case .bytes(let bytes):
                unsafe made = bytes.withUnsafeBytes { unsafe MHD_create_response_from_buffer($0.count, UnsafeMutableRawPointer(mutating: $0.baseAddress), MHD_ResponseMemoryMode.RESPMEM_MUST_COPY) }
            case .file(let piece) where piece.byteCount == 0:
                close(piece.descriptor)
                unsafe made = MHD_create_response_from_buffer(0, nil, MHD_ResponseMemoryMode.RESPMEM_PERSISTENT)
            case .file(let piece): unsafe made = unsafe MHD_create_response_from_fd_at_offset64(UInt64(piece.byteCount), piece.descriptor, UInt64(piece.offset))
            case .announced(let count):
                unsafe made = unsafe MHD_create_response_from_callback(UInt64(count), 4096, { _, _, _, _ in Int(MHD_CONTENT_READER_END_WITH_ERROR) }, nil, nil)
            case .stream(let count, let read):
                unsafe made = unsafe MHD_create_response_from_callback(UInt64(count), 128 * 1024, { context, position, buffer, room in
                    let stream = unsafe Unmanaged<Stream>.fromOpaque(context!).takeUnretainedValue()
                    guard let bytes = try? stream.read(Int64(position), room), !bytes.isEmpty else { return Int(MHD_CONTENT_READER_END_WITH_ERROR) }
                    unsafe bytes.withUnsafeBytes { unsafe UnsafeMutableRawPointer(buffer!).copyMemory(from: $0.baseAddress!, byteCount: $0.count) }
                    return bytes.count
                }, unsafe Unmanaged.passRetained(Stream(read)).toOpaque(), { unsafe Unmanaged<Stream>.fromOpaque($0!).release() })
            }
            guard let made = unsafe made else { return MHD_Result.NO }
            defer { unsafe MHD_destroy_response(made) }
            for header in response.headers { unsafe MHD_add_response_header(made, header.name, header.value.isEmpty ? " " : header.value) }  // It takes no empty one.
            return unsafe MHD_queue_response(connection, UInt32(response.status), made)
        }
    }
}
