import Foundations
import LakeLocalServer
import Versioning

extension Command {
    static let showConfiguration = Command(
        path: ["config", "show"],
        summary: "Show every setting of the server with its value, secrets left out, and where each came from",
        example: "lakefuse config show --data lake",
        flags: [
            .serverConfiguration,
            Flag(name: "data", value: "DIR", description: "folder for everything that is kept"),
            Flag(name: "listen", value: "HOST:PORT", description: "address to listen on"),
        ]
    ) { invocation in
        Output.write(settingsText(try Configuration.load(invocation)))
    }

    /// Every setting with its value, secrets left out, and where each came from.
    static func settingsText(_ configuration: Configuration) -> String {
        var text = ""
        for setting in Configuration.settings {
            let value = setting.show(configuration)
            let shown = setting.isSecret && !value.isEmpty ? "(secret)" : value
            text +=
                "\(setting.key): \(shown.isEmpty ? "\"\"" : shown)  # \(configuration.origins[setting.key] ?? "default")\n"
        }
        for (name, value) in configuration.oidc.requiredClaims.sorted(by: { $0.key < $1.key }) {
            let key = "auth.oidc.validate_id_token_claims.\(name)"
            text += "\(key): \(value)  # \(configuration.origins[key] ?? "default")\n"
        }
        for (key, origin) in configuration.passedOver {
            text += "# \(key) has no meaning here and is passed over: \(origin)\n"
        }
        return text
    }
}
