import Foundations
import LakeAPI

extension Command {
    static let web = Command(
        path: ["web"], summary: "Print a link that opens the web page signed in, once, within ten minutes",
        example: "lakefuse web"
    ) { invocation in
        let made: API.StorageURI = try Coding.decode(
            API.StorageURI.self,
            try invocation.client.post(["login-links"], [String: String](), api: "lakefuse"))
        Output.line(made.location)
    }
}
