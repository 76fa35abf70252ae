import Foundations
import LakeAPI
import Transport
import Versioning

/// A service that is asked by HTTP whether a user's password is right: 200 says yes. Source: lakeFS's documentation,
/// "Remote Authenticator".
package struct RemoteAuthenticator: PasswordAuthenticator {
    /// `auth.remote_authenticator.*`.
    package struct Settings: Sendable {
        package var endpoint: String
        package var group: String
        package var timeoutSeconds: Int64
        package init(endpoint: String, group: String, timeoutSeconds: Int64) {
            self.endpoint = endpoint
            self.group = group
            self.timeoutSeconds = timeoutSeconds
        }
    }

    private let settings: Settings
    private let http: HTTPClient
    let source = "remote"

    init(_ settings: Settings) {
        self.settings = settings
        let seconds = Int(clamping: settings.timeoutSeconds)
        http = HTTPClient(connectSeconds: seconds, stallSeconds: seconds)
    }

    private struct Answer: Decodable { var external_user_identifier: String? }

    func identity(of userName: String, password: String) throws -> ExternalIdentity? {
        let answer: HTTPClient.Answer
        do {
            answer = try http.fetch(
                "POST", settings.endpoint, headers: [("Content-Type", "application/json")],
                body: Coding.encode(["username": userName, "password": password]))
        } catch { throw LakeError(.unavailable, "the remote authenticator does not answer", cause: error) }
        guard answer.status == 200 else { return nil }
        let name = (try? Coding.decodeForeign(Answer.self, answer.body))?.external_user_identifier
        return ExternalIdentity(userName: name ?? userName, defaults: [settings.group])
    }
}
