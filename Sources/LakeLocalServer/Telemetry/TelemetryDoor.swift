import Versioning

/// What tells others how the server is: `/_health` and `/_health/live` whether it lives, `/_health/ready` whether requests
/// should be sent to it, and `/metrics` for Prometheus. Neither asks who wants to know, as
/// lakeFS's do not.
struct TelemetryDoor: Door {
    static let health = "/_health", metrics = "/metrics", live = "/_health/live", ready = "/_health/ready"
    let telemetry: Telemetry
    let access: Access
    let readiness: Readiness

    func serves(_ request: Request) -> Bool {
        [Self.health, Self.metrics, Self.live, Self.ready].contains(request.rawPath)
    }

    func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.text(400, fault + "\n", type: "text/plain; charset=utf-8")) }
        if request.rawPath == Self.ready {
            request.note.operation = .health
            return .work { [readiness] in
                if let reason = readiness.reason() {
                    var response = Response.text(503, "not ready: \(reason)\n", type: "text/plain; charset=utf-8")
                    response.headers.append(("Retry-After", "1"))
                    return response
                }
                return .text(200, "ready\n", type: "text/plain; charset=utf-8")
            }
        }
        guard request.rawPath == Self.metrics else {
            request.note.operation = .health
            // A store that does not answer is told by every other call.
            return .respond(
                Response(
                    status: 200,
                    headers: [
                        ("Content-Type", "text/plain; charset=utf-8"),
                        ("X-LakeFS-Installation-ID", (try? access.installationID()) ?? ""),
                    ],
                    body: .bytes(Array("alive!".utf8))))
        }
        request.note.operation = .metrics
        guard !request.isWrite else {
            return .respond(
                .text(
                    405, "method \(request.method) is not allowed for \(request.rawPath)\n",
                    type: "text/plain; charset=utf-8"))
        }
        return .work { .text(200, telemetry.exposition(), type: "text/plain; version=0.0.4; charset=utf-8") }
    }

    func slowDown(_ request: Request) -> Response { REST.slowDown }
}
