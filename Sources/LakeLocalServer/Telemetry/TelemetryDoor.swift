import Versioning

/// What tells others how the server is: `/_health`, and `/metrics` for Prometheus. Neither asks who wants to know, as
/// lakeFS's do not.
struct TelemetryDoor: Door {
    static let health = "/_health", metrics = "/metrics"
    let telemetry: Telemetry
    let access: Access

    func serves(_ request: Request) -> Bool { request.rawPath == Self.health || request.rawPath == Self.metrics }

    func begin(_ request: Request) -> Reception {
        if let fault = request.fault { return .respond(.text(400, fault + "\n", type: "text/plain; charset=utf-8")) }
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
