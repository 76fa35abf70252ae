import Foundations
import LakeAPI
import Transport
import Versioning

/// Rules of a repository: branch protection and garbage collection, on their routes and the deprecated ones.
extension REST {
    func addSettings(_ router: inout Router) {
        addProtection(&router)
        addRetention(&router)
    }

    private func addProtection(_ router: inout Router) {
        for operation in [Operation.getBranchProtectionRules, .internalGetBranchProtectionRules] {
            router.on(operation) { call in
                let (rules, checksum) = try catalog.protectionRules(of: call.repository)
                var response = Response.json(200, rules.map { API.BranchProtectionRule(pattern: $0.pattern) })
                // Without quotes, unlike HTTP's: so clients of lakeFS know it and send it back.
                response.headers.append(("ETag", checksum))
                return .respond(response)
            }
        }
        router.on(.setBranchProtectionRules) { call in
            let header = call.request.header("if-match")
            if header == "" {
                throw MalformedParameter(
                    description:
                        "Invalid format for parameter If-Match: parameter 'If-Match' is empty, can't bind its value")
            }
            return call.json([API.BranchProtectionRule].self) { body in
                let checksum = header.map {
                    $0.count > 1 && $0.hasPrefix("\"") && $0.hasSuffix("\"") ? String($0.dropFirst().dropLast()) : $0
                }
                try catalog.setProtectionRules(body.map { try rule($0) }, in: call.repository, ifChecksum: checksum)
                return .noContent
            }
        }
        router.on(.internalCreateBranchProtectionRule) { call in
            call.json(API.BranchProtectionRule.self) { body in
                let added = try rule(body)
                try catalog.updateProtectionRules(of: call.repository) { rules in
                    rules = rules.filter { $0.pattern != added.pattern } + [added]
                }
                return .noContent
            }
        }
        router.on(.internalDeleteBranchProtectionRule) { call in
            call.json(API.BranchProtectionRule.self) { body in
                var wasThere = false
                try catalog.updateProtectionRules(of: call.repository) { rules in
                    wasThere = rules.contains { $0.pattern == body.pattern }
                    rules.removeAll { $0.pattern == body.pattern }
                }
                return Response(status: wasThere ? 204 : 404)
            }
        }
        router.on(.createBranchProtectionRulePreflight) { _ in .respond(.noContent) }
    }

    private func rule(_ message: API.BranchProtectionRule) throws -> ProtectionRule {
        guard !message.pattern.isEmpty else {
            throw LakeError(
                .invalidValue, "request body has an error: a branch pattern is empty: name a branch, or use * in it")
        }
        return ProtectionRule(pattern: message.pattern)
    }

    private func addRetention(_ router: inout Router) {
        for operation in [Operation.getGCRules, .internalGetGarbageCollectionRules] {
            router.on(operation) { call in
                let rules = try catalog.garbageCollectionRules(call.repository)
                return .respond(
                    .json(
                        200,
                        API.GarbageCollectionRules(
                            defaultRetentionDays: rules.defaultDays,
                            branches: rules.branches.map { .init(branchId: $0.id.text, retentionDays: $0.days) })))
            }
        }
        for operation in [Operation.setGCRules, .internalSetGarbageCollectionRules] {
            router.on(operation) { call in
                call.json(API.GarbageCollectionRules.self) { body in
                    let rules = GarbageCollectionRules(
                        defaultDays: body.defaultRetentionDays,
                        branches: body.branches.map { (BranchName($0.branchId), $0.retentionDays) })
                    try catalog.setGarbageCollectionRules(rules, in: call.repository)
                    return .noContent
                }
            }
        }
        for operation in [Operation.deleteGCRules, .internalDeleteGarbageCollectionRules] {
            router.on(operation) { call in
                call.work {
                    try catalog.deleteGarbageCollectionRules(call.repository)
                    return .noContent
                }
            }
        }
        router.on(.setGarbageCollectionRulesPreflight) { _ in .respond(.noContent) }
    }
}
