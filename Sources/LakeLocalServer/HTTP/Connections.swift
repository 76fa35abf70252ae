import CHTTP
import Foundations
import Glibc
import Synchronization
package import Versioning

/// Who is at the other end of a connection.
package struct Peer: Sendable, Hashable {
    package let address: IPAddress
    package let port: UInt16
    package init(address: IPAddress, port: UInt16) {
        self.address = address
        self.port = port
    }

    /// Nil for an address that is none of the internet's.
    init?(_ storage: sockaddr_storage) {
        var storage = storage
        switch Int32(storage.ss_family) {
        case AF_INET:
            let found = unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in.self) }
            address = IPAddress(v4: UInt32(bigEndian: found.sin_addr.s_addr))
            port = UInt16(bigEndian: found.sin_port)
        case AF_INET6:
            let found = unsafe withUnsafeBytes(of: &storage) { unsafe $0.loadUnaligned(as: sockaddr_in6.self) }
            address = unsafe withUnsafeBytes(of: found.sin6_addr) { unsafe IPAddress(v6: Array($0)) }
            port = UInt16(bigEndian: found.sin6_port)
        default: return nil
        }
    }
}

/// All connections of a server: how many there may be, which of them do nothing, and which must make room.
///
/// libmicrohttpd must never reach a limit of its own: a full worker of its pool waits for itself for good. So
/// connections are counted here, before it is given them. Where there are too many, the one that has waited longest
/// without a request goes; where all are busy, the new one is refused. A thread looks at all of them a few times a
/// second, by the kernel's counters of each (tcp(7), TCP_INFO): who sends a request too slowly, does not read its
/// answer, or is gone, is cut off.
final class Connections: Sendable {
    /// What a connection is at; written by the thread that serves it, read by the one that watches.
    enum Phase: UInt32 {
        /// For a request, or for the rest of its head.
        case waiting
        /// For the body of a request.
        case receiving
        /// The server is at work.
        case working
        /// An answer is being sent.
        case answering
    }

    /// One connection. The descriptor is valid as long as `socket` holds it: libmicrohttpd tells of the end before it
    /// closes it.
    final class Connection: Sendable {
        let peer: Peer?
        fileprivate let number: UInt64
        /// The phase in the low bits, above them how often it changed.
        fileprivate let state = Atomic<UInt32>(0)
        /// Nil once the connection has ended. The one lock here that is held over system calls: it is what keeps the
        /// descriptor from being another one's meanwhile, and they do not wait.
        fileprivate let socket: Mutex<Int32?>
        /// What the watching thread saw last; nobody else looks.
        fileprivate let seen = Mutex(Watch())
        /// It was told to go, and counts no more.
        fileprivate let isLeaving = Atomic<Bool>(false)

        fileprivate init(_ socket: Int32, _ peer: Peer?, _ number: UInt64) {
            self.socket = Mutex(socket)
            self.peer = peer
            self.number = number
        }

        func enter(_ phase: Phase) {
            let old = state.load(ordering: .relaxed)
            state.store((old & ~7) &+ 8 | phase.rawValue, ordering: .relaxed)
        }

        fileprivate static func phase(_ state: UInt32) -> Phase { Phase(rawValue: state & 7)! }

        /// Ends both directions; the thread that serves it notices.
        fileprivate func cut() { socket.withLock { if let socket = $0 { shutdown(socket, Int32(SHUT_RDWR)) } } }
    }

    /// Bounds, all configurable.
    struct Limits: Sendable {
        /// Connections at once, and those of one address.
        var most = 2048, mostOfOneAddress = 1024
        /// How long a connection may be silent between two requests.
        var idleMilliseconds: Int64 = 300_000
        /// How long a connection's first request, and the head of any, may take.
        var headMilliseconds: Int64 = 30_000
        /// A body that arrives, or an answer that is read, with fewer than `leastBytes` in this time is given up.
        var progressMilliseconds: Int64 = 60_000
        var leastBytes: UInt64 = 1024
    }

    /// What was seen of a connection, and when.
    fileprivate struct Watch {
        var state = UInt32.max
        var since: Int64 = 0
        /// Bytes moved at the last mark, and when that was.
        var bytes: UInt64 = 0, at: Int64 = 0
        /// Bytes received when the connection was last looked at.
        var received: UInt64 = 0
        /// When the head that is coming in was first seen; nil if none is.
        var headSince: Int64?
    }

    private struct State {
        var all: [Int32: Connection] = [:]
        var byAddress: [IPAddress: Int] = [:]
        var count = 0
        var next: UInt64 = 0
    }

    private let limits: Limits
    private let state = Mutex(State())
    private let stopping = CountingSemaphore()
    private let watcher = Mutex<Thread?>(nil)
    private static let watchMilliseconds = 250

    init(_ limits: Limits) {
        self.limits = limits
    }

    func start() {
        watcher.withLock {
            $0 = Thread(name: "http-watch") { [self] in
                while !stopping.wait(milliseconds: Self.watchMilliseconds) { watch(Timestamp.monotonicMilliseconds()) }
            }
        }
    }

    func stop() {
        stopping.post()
        let thread = watcher.withLock { $0.take() }
        thread?.join()
    }

    // MARK: coming and going

    /// Whether there is room for a new connection. Whoever waited longest without a request makes room if there is
    /// none.
    func admit(_ socket: Int32, _ peer: Peer?) -> Bool {
        let (isAdmitted, leaving) = state.withLock { state -> (Bool, Connection?) in
            var leaving: Connection?
            let ofAddress = peer.flatMap { state.byAddress[$0.address] } ?? 0
            if ofAddress >= limits.mostOfOneAddress {
                leaving = Self.idlest(state) { $0.peer?.address == peer?.address }
            } else if state.count >= limits.most {
                leaving = Self.idlest(state) { _ in true }
            } else {
                Self.add(socket, peer, to: &state)
                return (true, nil)
            }
            guard let leaving else { return (false, nil) }
            Self.discount(leaving, in: &state)
            Self.add(socket, peer, to: &state)
            return (true, leaving)
        }
        leaving?.cut()
        return isAdmitted
    }

    private static func add(_ socket: Int32, _ peer: Peer?, to state: inout State) {
        state.next += 1
        state.all[socket] = Connection(socket, peer, state.next)
        state.count += 1
        if let peer { state.byAddress[peer.address, default: 0] += 1 }
    }

    /// The connection that has been without a request for longest: the oldest of those that wait.
    private static func idlest(_ state: State, where isMeant: (Connection) -> Bool) -> Connection? {
        var found: Connection?
        for connection in state.all.values
        where Connection.phase(connection.state.load(ordering: .relaxed)) == .waiting
            && !connection.isLeaving.load(ordering: .relaxed) && isMeant(connection)
        {
            if found.map({ connection.number < $0.number }) ?? true { found = connection }
        }
        return found
    }

    private static func discount(_ connection: Connection, in state: inout State) {
        guard !connection.isLeaving.exchange(true, ordering: .relaxed) else { return }
        state.count -= 1
        guard let peer = connection.peer, let count = state.byAddress[peer.address] else { return }
        state.byAddress[peer.address] = count > 1 ? count - 1 : nil
    }

    /// The connection of a descriptor that was admitted.
    func connection(_ socket: Int32) -> Connection? { state.withLock { $0.all[socket] } }

    /// To be called before the descriptor is closed.
    func ended(_ socket: Int32) {
        let connection = state.withLock { state in
            let connection = state.all.removeValue(forKey: socket)
            if let connection { Self.discount(connection, in: &state) }
            return connection
        }
        connection?.socket.withLock { $0 = nil }
    }

    func cutAll() { for connection in state.withLock({ Array($0.all.values) }) { connection.cut() } }

    /// Connections that are open or about to end.
    var count: Int { state.withLock { $0.all.count } }

    // MARK: watching

    private func watch(_ now: Int64) {
        for connection in state.withLock({ Array($0.all.values) }) { look(at: connection, now) }
    }

    private func look(at connection: Connection, _ now: Int64) {
        connection.socket.withLock { socket in
            guard let socket, let counters = TCPCounters(socket) else { return }
            let mustGo = connection.seen.withLock {
                Self.mustGo(&$0, connection.state.load(ordering: .relaxed), counters, now, limits)
            }
            if mustGo { shutdown(socket, Int32(SHUT_RDWR)) }
        }
    }

    /// Decides by values alone, so that a test can.
    fileprivate static func mustGo(
        _ seen: inout Watch, _ state: UInt32, _ counters: TCPCounters, _ now: Int64, _ limits: Limits
    ) -> Bool {
        let isFirst = seen.state == .max
        let phase = Connection.phase(state)
        let moved = phase == .answering ? counters.acknowledged : counters.received
        if seen.state != state {
            seen = Watch(state: state, since: now, bytes: moved, at: now, received: counters.received)
        }
        defer { seen.received = counters.received }
        // The peer has ended and all that it sent was taken: what is missing will not come. Seen twice, for the last of
        // it may be on its way through.
        let isCutOff = counters.isPeerDone && counters.unread == 0 && !isFirst && seen.received == counters.received
        switch phase {
        case .working: return false
        case .waiting:
            if isCutOff && now > seen.since { return true }
            if counters.received == seen.bytes {
                // A connection that never asked for anything gets less patience than one that has.
                return now - seen.since > (state < 8 ? limits.headMilliseconds : limits.idleMilliseconds)
            }
            let since = seen.headSince ?? now
            seen.headSince = since
            return now - since > limits.headMilliseconds
        case .receiving where isCutOff && now > seen.since: return true
        case .receiving, .answering:
            if moved - seen.bytes >= limits.leastBytes || (phase == .answering && !counters.hasUnacknowledged) {
                (seen.bytes, seen.at) = (moved, now)
                return false
            }
            return now - seen.at > limits.progressMilliseconds
        }
    }
}

/// What the kernel counts of a connection (tcp(7), TCP_INFO; offsets of `struct tcp_info` in linux/tcp.h, which only
/// grows).
struct TCPCounters {
    let received: UInt64
    let acknowledged: UInt64
    /// Bytes that were received and not yet read.
    let unread: Int32
    let isPeerDone: Bool
    let hasUnacknowledged: Bool

    init(received: UInt64, acknowledged: UInt64, unread: Int32, isPeerDone: Bool, hasUnacknowledged: Bool) {
        self.received = received
        self.acknowledged = acknowledged
        self.unread = unread
        self.isPeerDone = isPeerDone
        self.hasUnacknowledged = hasUnacknowledged
    }

    /// Nil for a socket that is no connection of TCP.
    init?(_ socket: Int32) {
        var info = [UInt8](repeating: 0, count: 136)
        var length = socklen_t(136)
        var unread: Int32 = 0
        guard unsafe getsockopt(socket, Int32(IPPROTO_TCP), 11, &info, &length) == 0, length == 136,
            unsafe lake_http_unread(socket, &unread) == 0
        else { return nil }
        let (acknowledged, received) = unsafe info.withUnsafeBytes {
            unsafe (
                $0.loadUnaligned(fromByteOffset: 120, as: UInt64.self),
                $0.loadUnaligned(fromByteOffset: 128, as: UInt64.self)
            )
        }
        self.acknowledged = acknowledged
        self.received = received
        self.unread = unread
        isPeerDone = info[0] == 8  // TCP_CLOSE_WAIT
        hasUnacknowledged = lake_http_unsent(socket) > 0
    }
}

/// The decisions of the watching thread, for tests.
struct ConnectionWatch {
    private var seen = Connections.Watch()
    private var state: UInt32 = 0
    let limits: Connections.Limits

    init(_ limits: Connections.Limits) { self.limits = limits }

    mutating func enter(_ phase: Connections.Phase) { state = (state & ~7) + 8 | phase.rawValue }
    mutating func mustGo(_ counters: TCPCounters, at now: Int64) -> Bool {
        Connections.mustGo(&seen, state, counters, now, limits)
    }
}
