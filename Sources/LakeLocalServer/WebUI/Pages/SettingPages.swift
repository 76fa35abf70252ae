import Foundations
import LakeAPI
import Transport
import Versioning

/// What holds for a whole repository.
enum SettingPages {
    static let routes: [WebRoute] = [
        .page("settings", "~/settings") { visit in try settings(visit) },
        // lakeFS's addresses.
        .part("settings.general", "~/settings/*") { visit in visit.web.redirect(Link(visit.repository, "settings")) },
        .form("settings.protection", "~/settings/protection") { visit in
            var rules: [API.BranchProtectionRule] = try visit.get(.getBranchProtectionRules, names(visit))
            let pattern = visit.field("pattern")
            rules.removeAll { $0.pattern == pattern }
            if !visit.isChecked("remove") { rules.append(API.BranchProtectionRule(pattern: pattern)) }
            try visit.answer(.setBranchProtectionRules, names(visit), body: rules)
            return visit.see(
                here(visit),
                note: visit.isChecked("remove") ? "\(pattern) is no longer protected." : "\(pattern) is protected.")
        },
        .form("settings.retention", "~/settings/retention") { visit in
            guard let days = Int(visit.field("days")) else {
                throw PageError(400, "'\(visit.field("days"))' is no number of days.")
            }
            let branches = try visit.pairs("branches").map { name, days in
                guard let days = Int(days) else { throw PageError(400, "'\(days)' of \(name) is no number of days.") }
                return API.GarbageCollectionRule(branchId: name, retentionDays: days)
            }
            try visit.answer(
                .setGCRules, names(visit),
                body: API.GarbageCollectionRules(
                    defaultRetentionDays: days, branches: branches.sorted { $0.branchId < $1.branchId }))
            return visit.see(here(visit), note: "Retention is set.")
        },
        .form("settings.labels", "~/settings/labels") { visit in
            let new = try visit.pairs("labels")
            let old: [String: String] = visit.getIfAny(.getRepositoryMetadata, names(visit)) ?? [:]
            let gone = old.keys.filter { new[$0] == nil }.sorted()
            if !gone.isEmpty {
                try visit.answer(.deleteRepositoryMetadata, names(visit), body: API.RepositoryMetadataKeys(keys: gone))
            }
            if !new.isEmpty {
                try visit.answer(.setRepositoryMetadata, names(visit), body: API.RepositoryMetadataSet(metadata: new))
            }
            return visit.see(here(visit), note: "Labels are set.")
        },
        .form("settings.delete", "~/settings/delete") { visit in
            guard visit.field("name") == visit.repository.text else {
                throw PageError(
                    400, "'\(visit.field("name"))' is not the name of this repository: nothing was deleted.")
            }
            try visit.answer(.deleteRepository, names(visit))
            return visit.see(Link(["repositories"]), note: "The repository \(visit.repository) is deleted.")
        },
    ]

    private static func names(_ visit: Visit) -> Visit.Names { [.repository: visit.repository.text] }
    private static func here(_ visit: Visit) -> Link { Link(visit.repository, "settings") }

    private static func settings(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let repository: API.Repository = try visit.get(.getRepository, names(visit))
        return WebPage(
            "Settings · \(id)", id, .settings,
            """
            <h1>Settings</h1><section class="card"><h2>Storage</h2><dl class="facts"><div><dt>Namespace</dt><dd><code>\(repository.storageNamespace)</code></dd></div>\((repository.storageId ?? "").isEmpty ? nil : "<div><dt>Store</dt><dd>\(repository.storageId ?? "")</dd></div>" as HTML)<div><dt>Default branch</dt><dd>\(repository.defaultBranch)</dd></div><div><dt>Made</dt><dd>\(Show.time(repository.creationDate))</dd></div><div><dt>Read-only</dt><dd>\(repository.readOnly == true ? "yes" : "no")</dd></div></dl></section>
            \(labels(visit))\(protection(visit))\(retention(visit))\(danger(visit))
            """)
    }

    private static func labels(_ visit: Visit) -> HTML? {
        let known: [String: String] = visit.getIfAny(.getRepositoryMetadata, names(visit)) ?? [:]
        let text = known.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" }.joined(separator: "\n")
        guard visit.may(.setRepositoryMetadata, names(visit)) else {
            return known.isEmpty ? nil : "<section class=\"card\"><h2>Labels</h2><pre>\(text)</pre></section>"
        }
        return """
            <section class="card"><h2>Labels</h2><form method="post" action="\(Link(visit.repository, "settings", "labels"))">\(Layout.token(visit))<label>One <code>name=value</code> a line <textarea name="labels" rows="3" spellcheck="false">\(text)</textarea></label><button>Set labels</button></form></section>
            """
    }

    private static func protection(_ visit: Visit) -> HTML? {
        let rules: [API.BranchProtectionRule]? = visit.getIfAny(.getBranchProtectionRules, names(visit))
        guard let rules else { return nil }
        let mayChange = visit.may(.setBranchProtectionRules, names(visit))
        let link = Link(visit.repository, "settings", "protection")
        let rows = rules.map { rule -> HTML in
            "<tr><th scope=\"row\"><code>\(rule.pattern)</code></th><td>\(mayChange ? Layout.button("Remove", to: link, visit, fields: ["pattern": rule.pattern, "remove": "1"], kind: "quiet danger") : nil)</td></tr>"
        }
        let add: HTML? =
            mayChange
            ? "<form method=\"post\" action=\"\(link)\" class=\"row\">\(Layout.token(visit))<label>Branches called <input name=\"pattern\" required placeholder=\"main or release-*\" spellcheck=\"false\"></label><button>Protect</button></form>"
            : nil
        return """
            <section class="card"><h2>Branch protection</h2><p>Protected branches are changed by merges alone: nothing is written or committed to them directly.</p>\(rows.isEmpty ? "<p class=\"faint\">No branch is protected.</p>" : "<table><tbody>\(rows)</tbody></table>")\(add)</section>
            """
    }

    private static func retention(_ visit: Visit) -> HTML? {
        let rules: API.GarbageCollectionRules? = visit.getIfAny(.getGCRules, names(visit))
        let mayChange = visit.may(.setGCRules, names(visit))
        guard rules != nil || mayChange else { return nil }
        let text = (rules?.branches ?? []).map { "\($0.branchId)=\($0.retentionDays)" }.joined(separator: "\n")
        guard mayChange else {
            return
                "<section class=\"card\"><h2>Retention</h2><p>Deleted data is kept for \(rules?.defaultRetentionDays ?? 0) days.</p></section>"
        }
        return """
            <section class="card"><h2>Retention</h2><p>How long objects that were deleted or replaced stay readable in old commits.</p><form method="post" action="\(Link(visit.repository, "settings", "retention"))">\(Layout.token(visit))<label>Days <input name="days" type="number" min="1" required value="\(rules.map { "\($0.defaultRetentionDays)" } ?? "")" placeholder="kept for ever"></label><label>For some branches, <code>branch=days</code> a line <textarea name="branches" rows="3" spellcheck="false">\(text)</textarea></label><button>Set retention</button></form></section>
            """
    }

    private static func danger(_ visit: Visit) -> HTML? {
        guard visit.may(.deleteRepository, names(visit)) else { return nil }
        return """
            <section class="card danger"><h2>Delete this repository</h2><p>Its branches, commits and tags go at once, and cannot be brought back. Objects in its namespace stay until they are removed there.</p><form method="post" action="\(Link(visit.repository, "settings", "delete"))" class="row">\(Layout.token(visit))<label>Write <strong>\(visit.repository)</strong> to confirm <input name="name" required autocomplete="off" spellcheck="false"></label><button class="danger">Delete</button></form></section>
            """
    }
}
