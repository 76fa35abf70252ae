import FoundationEssentials
package import Foundations

/// Tokens of Azure's Active Directory: of the machine's managed identity, or of a federated one of the cluster. Kept until
/// shortly before they end. Source: "How to use managed identities on a virtual machine to acquire a token"; "Microsoft
/// identity platform and the OAuth 2.0 client credentials flow". Safe from any thread.
package final class AzureIdentity: Sendable {
    package struct Settings: Sendable {
        /// What the token is for: `https://storage.azure.com`, `https://ACCOUNT.documents.azure.com`.
        package var resource = ""
        package var environment: [String: String] = [:]
        package init() {}
    }

    private struct Told: Decodable {
        let access_token: String
        /// Seconds, as a number or a text.
        let expires_in: Text?
        struct Text: Decodable {
            let value: Int64
            init(from decoder: any Decoder) throws {
                let container = try decoder.singleValueContainer()
                if let number = try? container.decode(Int64.self) {
                    value = number
                } else {
                    value = Int64(try container.decode(String.self)) ?? 300
                }
            }
        }
    }

    private let settings: Settings
    private let client = HTTPClient(connectSeconds: 2, stallSeconds: 10)
    private let kept = KeptToken()

    package init(_ settings: Settings) { self.settings = settings }

    package func token() throws(StoreError) -> String {
        try kept.get {
            let told = try look()
            return (told.access_token, told.expires_in?.value ?? 300)
        }
    }

    private func look() throws -> Told {
        let environment = settings.environment
        let answer: HTTPClient.Answer
        if let file = environment["AZURE_FEDERATED_TOKEN_FILE"], let client = environment["AZURE_CLIENT_ID"],
            let tenant = environment["AZURE_TENANT_ID"]
        {
            guard let assertion = FileManager.default.contents(atPath: file) else {
                throw StoreError(.refused, "the token's file \(file) cannot be read")
            }
            answer = try post(
                tenant,
                [
                    ("client_id", client), ("client_assertion", String(decoding: assertion, as: UTF8.self)),
                    ("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"),
                ])
        } else if let client = environment["AZURE_CLIENT_ID"], let secret = environment["AZURE_CLIENT_SECRET"],
            let tenant = environment["AZURE_TENANT_ID"]
        {
            answer = try post(tenant, [("client_id", client), ("client_secret", secret)])
        } else {
            let base = environment["AZURE_POD_IDENTITY_AUTHORITY_HOST"] ?? "http://169.254.169.254"
            var query = [("api-version", "2018-02-01"), ("resource", settings.resource)]
            if let client = environment["AZURE_CLIENT_ID"] { query.append(("client_id", client)) }
            answer = try client.fetch(
                "GET", "\(base)/metadata/identity/oauth2/token?\(URIEncoding.query(of: query))",
                headers: [("Metadata", "true")])
        }
        guard answer.status == 200, let told = try? JSONDecoder().decode(Told.self, from: Data(answer.body)) else {
            throw StoreError(
                .refused,
                "Azure gives this server no token for \(settings.resource): \(answer.statusLine); give the account's key, or the machine an identity"
            )
        }
        return told
    }

    private func post(_ tenant: String, _ fields: [(String, String)]) throws -> HTTPClient.Answer {
        let authority = settings.environment["AZURE_AUTHORITY_HOST"] ?? "https://login.microsoftonline.com"
        let base = authority.hasSuffix("/") ? String(authority.dropLast()) : authority
        let body = URIEncoding.query(
            of: [("grant_type", "client_credentials"), ("scope", settings.resource + "/.default")] + fields)
        return try client.fetch(
            "POST", "\(base)/\(tenant)/oauth2/v2.0/token",
            headers: [("content-type", "application/x-www-form-urlencoded")], body: Array(body.utf8))
    }
}
