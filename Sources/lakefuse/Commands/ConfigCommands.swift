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
        let configuration = try Configuration.load(invocation)
        if invocation.isJSON {
            return Output.json(
                settings(of: configuration).map { ["key": $0.key, "value": $0.value, "from": $0.origin] })
        }
        Output.write(settingsText(configuration))
    }

    /// Every setting with its value, secrets left out, and where each came from.
    private static func settings(of configuration: Configuration) -> [(key: String, value: String, origin: String)] {
        let fixed = Configuration.settings.map { setting in
            let value = setting.show(configuration)
            return (setting.key, setting.isSecret && !value.isEmpty ? "(secret)" : value)
        }
        let claims = configuration.oidc.requiredClaims.sorted { $0.key < $1.key }.map {
            ("auth.oidc.validate_id_token_claims.\($0.key)", $0.value)
        }
        return (fixed + claims).map { ($0.0, $0.1, configuration.origins[$0.0] ?? "default") }
    }

    /// The same as text.
    static func settingsText(_ configuration: Configuration) -> String {
        var text = ""
        for (key, value, origin) in settings(of: configuration) {
            text += "\(key): \(value.isEmpty ? "\"\"" : value)  # \(origin)\n"
        }
        for (key, origin) in configuration.passedOver {
            text += "# \(key) has no meaning here and is passed over: \(origin)\n"
        }
        return text
    }
}
