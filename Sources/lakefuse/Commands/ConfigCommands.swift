import Foundations
import LakeLocalServer
import Versioning

extension Command {
    static let showConfiguration = Command(
        path: ["config", "show"],
        summary: "Show every setting of the server with its value, secrets left out, and where each came from",
        flags: [
            Flag(name: "config", value: "FILE", description: "the server's configuration file"),
            Flag(name: "data", value: "DIR", description: "folder for everything that is kept"),
            Flag(name: "listen", value: "HOST:PORT", description: "address to listen on"),
        ]
    ) { invocation in
        let configuration = try Configuration.load(invocation)
        for setting in Configuration.settings {
            let value = setting.show(configuration)
            let shown = setting.isSecret && !value.isEmpty ? "(secret)" : value
            Output.line(
                "\(setting.key): \(shown.isEmpty ? "\"\"" : shown)  # \(configuration.origins[setting.key] ?? "default")"
            )
        }
        for (name, value) in configuration.oidc.requiredClaims.sorted(by: { $0.key < $1.key }) {
            let key = "auth.oidc.validate_id_token_claims.\(name)"
            Output.line("\(key): \(value)  # \(configuration.origins[key] ?? "default")")
        }
        for (key, origin) in configuration.passedOver {
            Output.line("# \(key) has no meaning here and is passed over: \(origin)")
        }
    }
}
