import LakeAPI
import Transport
import Versioning

/// Rules of a repository: branch protection and garbage collection, on their routes and the deprecated ones.
extension REST {
    func addSettings(_ router: inout Router) {
        let repository = "v1/repositories/{repository}"
        addProtection(&router, repository + "/settings/branch_protection", deprecated: repository + "/branch_protection")
        addRetention(&router, repository + "/settings/gc_rules", deprecated: repository + "/gc/rules")
    }

    private func addProtection(_ router: inout Router, _ path: String, deprecated: String) {
        @Sendable func requireSet(_ call: Call) throws { try call.require(Permission("branches:SetBranchProtectionRules", "arn:lakefs:fs:::repository/\(call["repository"])")) }
        for path in [path, deprecated] {
            router.add("GET", path) { call in
                try call.require(Permission("branches:GetBranchProtectionRules", "arn:lakefs:fs:::repository/\(call["repository"])"))
                let (rules, checksum) = try catalog.protectionRules(of: call["repository"])
                var response = Response.json(200, rules.map { BranchProtectionRule(pattern: $0.pattern) })
                // Without quotes, unlike HTTP's: so clients of lakeFS know it and send it back.
                response.headers.append(("ETag", checksum))
                return .respond(response)
            }
        }
        router.add("PUT", path) { call in
            try requireSet(call)
            let header = call.request.header("if-match")
            if header == "" { throw MalformedParameter(description: "Invalid format for parameter If-Match: parameter 'If-Match' is empty, can't bind its value") }
            return call.json([BranchProtectionRule].self) { body in
                let checksum = header.map { $0.count > 1 && $0.hasPrefix("\"") && $0.hasSuffix("\"") ? String($0.dropFirst().dropLast()) : $0 }
                try catalog.setProtectionRules(body.map { try rule($0) }, in: call["repository"], ifChecksum: checksum)
                return .noContent
            }
        }
        router.add("POST", deprecated) { call in
            try requireSet(call)
            return call.json(BranchProtectionRule.self) { body in
                let added = try rule(body)
                try catalog.updateProtectionRules(of: call["repository"]) { rules in rules = rules.filter { $0.pattern != added.pattern } + [added] }
                return .noContent
            }
        }
        router.add("DELETE", deprecated) { call in
            try requireSet(call)
            return call.json(BranchProtectionRule.self) { body in
                var wasThere = false
                try catalog.updateProtectionRules(of: call["repository"]) { rules in
                    wasThere = rules.contains { $0.pattern == body.pattern }
                    rules.removeAll { $0.pattern == body.pattern }
                }
                return Response(status: wasThere ? 204 : 404)
            }
        }
        router.add("GET", deprecated + "/set_allowed") { call in
            try requireSet(call)
            return .respond(.noContent)
        }
    }

    private func rule(_ message: BranchProtectionRule) throws -> ProtectionRule {
        guard !message.pattern.isEmpty else { throw LakeError(.invalidValue, "request body has an error: a branch pattern is empty: name a branch, or use * in it") }
        return ProtectionRule(pattern: message.pattern)
    }

    private func addRetention(_ router: inout Router, _ path: String, deprecated: String) {
        @Sendable func require(_ call: Call, _ action: String) throws { try call.require(Permission("retention:\(action)GarbageCollectionRules", "arn:lakefs:fs:::repository/\(call["repository"])")) }
        for (path, method) in [(path, "PUT"), (deprecated, "POST")] {
            router.add("GET", path) { call in
                try require(call, "Get")
                let rules = try catalog.garbageCollectionRules(call["repository"])
                return .respond(.json(200, GarbageCollectionRulesMessage(defaultRetentionDays: rules.defaultDays, branches: rules.branches.map { .init(branchId: $0.id, retentionDays: $0.days) })))
            }
            router.add(method, path) { call in
                try require(call, "Set")
                return call.json(GarbageCollectionRulesMessage.self) { body in
                    let rules = GarbageCollectionRules(defaultDays: body.defaultRetentionDays, branches: body.branches.map { ($0.branchId, $0.retentionDays) })
                    try catalog.setGarbageCollectionRules(rules, in: call["repository"])
                    return .noContent
                }
            }
            router.add("DELETE", path) { call in
                try require(call, "Set")
                return call.work {
                    try catalog.deleteGarbageCollectionRules(call["repository"])
                    return .noContent
                }
            }
        }
        router.add("GET", deprecated + "/set_allowed") { call in
            try require(call, "Set")
            return .respond(.noContent)
        }
    }
}
