package import Foundations
import Glibc
import Synchronization
import Versioning

/// What the server tells of its requests: counters and times for `/metrics`, lines of the access and the audit log, and
/// what was behind an answer of 500. Safe from any thread.
package final class Telemetry: Sendable {
    /// At which level each request has its line (`logging.audit_log_level`); a log that shows less has none.
    private let accessLevel: Log.Level
    /// More to expose, read when it is asked for.
    private let gauges: @Sendable () -> [Gauge]
    private let meters: [Meter]

    /// Calls of a part of the server, counted by itself.
    package struct Meter: Sendable {
        package let name: StaticString, help: StaticString
        package let meter: CallMeter
        package init(_ name: StaticString, _ help: StaticString, _ meter: CallMeter) {
            self.name = name
            self.help = help
            self.meter = meter
        }
    }

    /// A value of the moment, or a count that only grows.
    package struct Gauge: Sendable {
        package let name: StaticString, help: StaticString
        package let isCounter: Bool
        package let value: Double
        package init(_ name: StaticString, _ help: StaticString, isCounter: Bool = false, _ value: Double) {
            self.name = name
            self.help = help
            self.isCounter = isCounter
            self.value = value
        }
    }

    package init(
        accessLevel: Log.Level = .debug, meters: [Meter] = [], gauges: @escaping @Sendable () -> [Gauge] = { [] }
    ) {
        self.accessLevel = accessLevel
        self.meters = meters
        self.gauges = gauges
    }

    // MARK: counting

    /// Upper ends of the buckets, in microseconds.
    private static let bounds: [Int64] = [
        500, 1000, 2500, 5000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
        10_000_000,
    ]

    private struct Label: Hashable {
        let operation: OperationName
        let isS3: Bool
        let method: Method
        let status: Int
    }

    private struct Series {
        var buckets = [Int](repeating: 0, count: bounds.count + 1)
        var count = 0
        var microseconds: Int64 = 0

        mutating func add(_ microseconds: Int64) {
            buckets[bounds.firstIndex { microseconds <= $0 } ?? bounds.count] += 1
            count += 1
            self.microseconds += microseconds
        }

        mutating func add(_ other: Series) {
            for index in buckets.indices { buckets[index] += other.buckets[index] }
            count += other.count
            microseconds += other.microseconds
        }
    }

    /// Methods that are told by their names; a stranger may invent any number of others.
    private enum Method: String, Comparable {
        case delete, get, head, options, other, patch, post, put
        init(_ name: String) {
            self =
                switch name {
                case "GET": .get
                case "PUT": .put
                case "HEAD": .head
                case "POST": .post
                case "DELETE": .delete
                case "PATCH": .patch
                case "OPTIONS": .options
                default: .other
                }
        }
        static func < (left: Method, right: Method) -> Bool { left.rawValue < right.rawValue }
    }

    /// In parts, so that threads seldom meet at one.
    private let series = (0..<16).map { _ in Part() }
    private final class Part: Sendable {
        let series = Mutex<[Label: Series]>([:])
    }
    private let underWay = Atomic<Int>(0)

    func begun() { underWay.add(1, ordering: .relaxed) }

    func answered(_ request: Request, _ response: Response) {
        underWay.subtract(1, ordering: .relaxed)
        let note = request.note
        let microseconds = Timestamp.monotonicMicroseconds() - note.began
        let label = Label(
            operation: note.operation, isS3: note.isS3, method: Method(request.method), status: response.status)
        let part = series[threadShard(of: series.count)]
        part.series.withLock { $0[label, default: Series()].add(microseconds) }
        log(request, response, microseconds)
    }

    // MARK: logs

    /// A line of the audit log, as the page shows it.
    struct Audit: Sendable {
        let time: Timestamp
        let user: String, operation: String, path: String
        let status: Int
        let address: String
    }

    /// Lines that are kept for the page.
    static let mostAudits = 500
    private let recent = Mutex<[Audit]>([])
    /// The newest lines, the newest last.
    var audits: [Audit] { recent.withLock { Array($0.suffix(Self.mostAudits)) } }

    /// Values of the moment.
    var values: [Gauge] {
        [Gauge("http_concurrent_requests", "Requests under way.", Double(underWay.load(ordering: .relaxed)))]
            + ProcessFacts.gauges + gauges()
    }

    /// Operations that change who may what, or end in somebody being let in.
    private static func isAudited(_ operation: OperationName) -> Bool {
        switch operation {
        case .logout: true
        case .rest(let operation):
            switch operation {
            case .setup, .login, .externalPrincipalLogin, .stsLogin, .oauthCallback, .createUser, .deleteUser,
                .createCredentials, .deleteCredentials, .attachPolicyToUser, .detachPolicyFromUser,
                .createGroup, .deleteGroup, .addGroupMembership, .deleteGroupMembership, .createPolicy, .updatePolicy,
                .deletePolicy, .attachPolicyToGroup, .detachPolicyFromGroup, .setGroupACL,
                .createUserExternalPrincipal, .deleteUserExternalPrincipal, .releaseTokenToMailbox,
                .getTokenFromMailbox, .createLoginLink:
                true
            default: false
            }
        case .none, .health, .metrics, .s3, .page: false
        }
    }

    /// The path of a request, as far as it is no secret: who has a mailbox' name has what comes into it.
    private static func path(_ request: Request) -> String {
        switch request.note.operation {
        case .rest(.getTokenFromMailbox), .rest(.releaseTokenToMailbox), .rest(.confirmTokenRelease):
            "/api/v1/auth/get-token/..."
        default: request.rawPath
        }
    }

    private func log(_ request: Request, _ response: Response, _ microseconds: Int64) {
        let note = request.note
        let isRefused = response.status == 401 || response.status == 403
        let isAudited = isRefused || Self.isAudited(note.operation)
        let isBroken = response.status >= 500 && response.status != 501
        guard isAudited || isBroken || Log.shows(accessLevel) else { return }
        // The query may hold a signature: it is not told.
        let fields: KeyValuePairs = [
            "request_id": note.id, "door": note.isS3 ? "s3" : "rest", "operation": note.operation.text,
            "method": request.method, "path": Self.path(request), "status": "\(response.status)",
            "took_us": "\(microseconds)",
            "user": note.user, "address": request.peer?.address.description ?? "",
            "user_agent": request.header("user-agent") ?? "",
        ]
        if isAudited {
            Log.info("audit", fields)
            let audit = Audit(
                time: .now(), user: note.user, operation: note.operation.text,
                path: String(Self.path(request).prefix(200)),
                status: response.status, address: request.peer?.address.description ?? "")
            recent.withLock { recent in
                if recent.count >= 2 * Self.mostAudits { recent.removeFirst(Self.mostAudits) }
                recent.append(audit)
            }
        }
        if isBroken {
            Log.error(
                "a request failed",
                [
                    "request_id": note.id, "operation": note.operation.text, "method": request.method,
                    "path": Self.path(request), "status": "\(response.status)", "user": note.user,
                    "reason": reason(response),
                ])
        }
        if Log.shows(accessLevel) { Log.write(accessLevel, "request", fields) }
    }

    /// What an error's answer says.
    private func reason(_ response: Response) -> String { String(decoding: response.bytes.prefix(1000), as: UTF8.self) }

    // MARK: exposition

    /// Everything in Prometheus' text format. Source: Prometheus documentation, "Exposition formats"; names are
    /// lakeFS's where it has them.
    func exposition() -> String {
        var all: [Label: Series] = [:]
        for part in series {
            for (label, some) in part.series.withLock({ $0 }) { all[label, default: Series()].add(some) }
        }
        var text = ""
        func head(_ name: String, _ help: String, _ type: String) {
            text += "# HELP \(name) \(help)\n# TYPE \(name) \(type)\n"
        }
        head("api_requests_total", "Requests by status code and method.", "counter")
        struct Kind: Hashable { let method: Method, status: Int }
        let kinds = all.reduce(into: [Kind: Int]()) {
            $0[Kind(method: $1.key.method, status: $1.key.status), default: 0] += $1.value.count
        }
        for (kind, count) in kinds.sorted(by: { ($0.key.method, $0.key.status) < ($1.key.method, $1.key.status) }) {
            text += "api_requests_total{code=\"\(kind.status)\",method=\"\(kind.method.rawValue)\"} \(count)\n"
        }
        for (name, help, isS3) in [
            ("api_request_duration_seconds", "Time of requests of the REST API and others.", false),
            ("gateway_request_duration_seconds", "Time of requests of the S3 gateway.", true),
        ] {
            head(name, help, "histogram")
            struct Kind: Hashable { let operation: String, status: Int }
            let kinds = all.reduce(into: [Kind: Series]()) {
                if $1.key.isS3 == isS3 {
                    $0[Kind(operation: $1.key.operation.text, status: $1.key.status), default: Series()].add($1.value)
                }
            }
            for (kind, one) in kinds.sorted(by: {
                ($0.key.operation, $0.key.status) < ($1.key.operation, $1.key.status)
            }) {
                let labels = "operation=\"\(kind.operation)\",code=\"\(kind.status)\""
                var sum = 0
                for (bound, count) in zip(Self.bounds, one.buckets) {
                    sum += count
                    text += "\(name)_bucket{\(labels),le=\"\(Self.seconds(bound))\"} \(sum)\n"
                }
                text +=
                    "\(name)_bucket{\(labels),le=\"+Inf\"} \(one.count)\n\(name)_sum{\(labels)} \(Self.seconds(one.microseconds))\n\(name)_count{\(labels)} \(one.count)\n"
            }
        }
        for meter in meters {
            let counts = meter.meter.counts
            head("\(meter.name)_duration_seconds", "\(meter.help): how long they took.", "summary")
            for (operation, count) in counts {
                let labels = "{operation=\"\(operation)\"}"
                text += "\(meter.name)_duration_seconds_sum\(labels) \(Self.seconds(count.microseconds))\n"
                text += "\(meter.name)_duration_seconds_count\(labels) \(count.calls)\n"
            }
            head("\(meter.name)_failures_total", "\(meter.help): those that failed.", "counter")
            for (operation, count) in counts {
                text += "\(meter.name)_failures_total{operation=\"\(operation)\"} \(count.failures)\n"
            }
        }
        for gauge in values {
            head("\(gauge.name)", "\(gauge.help)", gauge.isCounter ? "counter" : "gauge")
            text += "\(gauge.name) \(gauge.value)\n"
        }
        return text
    }

    private static func seconds(_ microseconds: Int64) -> String { "\(Double(microseconds) / 1_000_000)" }
}

/// What Prometheus' clients tell of their process, by the same names.
enum ProcessFacts {
    private static let started = Double(Timestamp.now().seconds)

    static var gauges: [Telemetry.Gauge] {
        var usage = rusage()
        unsafe getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage)
        func seconds(_ time: timeval) -> Double { Double(time.tv_sec) + Double(time.tv_usec) / 1_000_000 }
        let pages = FileStatus.text(of: "/proc/self/statm")?.split(separator: " ").map { Double($0) ?? 0 } ?? []
        let page = Double(sysconf(Int32(_SC_PAGESIZE)))
        let files = (try? Folder.names(of: "/proc/self/fd").count) ?? 0  // Not to be told here.
        return [
            .init(
                "process_cpu_seconds_total", "Processor time of the server, in seconds.", isCounter: true,
                seconds(usage.ru_utime) + seconds(usage.ru_stime)),
            .init(
                "process_resident_memory_bytes", "Memory of the server, in bytes.",
                (pages.count > 1 ? pages[1] : 0) * page),
            .init("process_virtual_memory_bytes", "Address space of the server, in bytes.", (pages.first ?? 0) * page),
            .init("process_open_fds", "Open file descriptors.", Double(files)),
            .init("process_start_time_seconds", "When the server began, in seconds since 1970.", started),
        ]
    }
}
