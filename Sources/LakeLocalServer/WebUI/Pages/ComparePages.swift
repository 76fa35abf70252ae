import Foundations
import LakeAPI
import Transport
import Versioning

/// Two refs side by side, and merging one into the other.
enum ComparePages {
    static let routes: [WebRoute] = [
        .page("compare", "~/compare") { visit in try compare(visit) },
        .form("merge", "~/merge") { visit in try merge(visit) },
    ]

    /// Conflicts that are offered for a choice.
    private static let mostChoices = 500

    private static func compare(_ visit: Visit) throws -> WebPage {
        let id = visit.repository
        let base = try DataPages.ref(visit)
        guard let other = visit.text("compare"), other != base else {
            return WebPage(
                "Compare · \(id)", id, .compare, ref: base,
                "<h1>Compare</h1>\(pickers(visit, base, visit.text("compare") ?? ""))\(Layout.empty("Choose two refs", "What the second has that the first has not is shown, and can be merged into it."))"
            )
        }
        try visit.require(.repository("ListObjects", id))
        let isThreeDot = visit.text("dots") != "2"
        let path = visit.key("path")
        var query = Catalog.DiffQuery()
        query.prefix = path
        query.delimiter = "/"
        query.after = visit.key("after")
        query.limit = ChangePages.perPage
        let page = try visit.catalog.diff(base, other, isThreeDot: isThreeDot, in: id, query)
        let counts = try ChangePages.counted(visit) {
            try visit.catalog.diff(base, other, isThreeDot: isThreeDot, in: id, $0)
        }
        // What three dots show is against where the two parted.
        let left = isThreeDot ? try visit.catalog.mergeBase(other, base, in: id).base.text : base
        let here = Link(
            id, "compare", query: ["ref": Key(base), "compare": Key(other), "dots": isThreeDot ? nil : "2"])
        let rows = page.items.map {
            ChangePages.row($0, below: path, folder: { here.with("path", $0) }, left: left, right: other, id)
        }
        let dots: HTML =
            isThreeDot
            ? "<strong>since they parted</strong> · <a href=\"\(Link(id, "compare", query: ["ref": Key(base), "compare": Key(other), "dots": "2"]))\">as they are</a>"
            : "<a href=\"\(Link(id, "compare", query: ["ref": Key(base), "compare": Key(other)]))\">since they parted</a> · <strong>as they are</strong>"
        let up: HTML? = path.isEmpty ? nil : "<a href=\"\(here)\" data-up>All folders</a>"
        return WebPage(
            "\(base) and \(other) · \(id)", id, .compare, ref: base, isLive: true,
            """
            <h1>Compare</h1>\(pickers(visit, base, other))<div id="list" data-live><div class="bar"><p class="counts">\(counts.html)</p><p>\(dots)</p>\(up)</div>
            \(rows.isEmpty ? Layout.empty("Nothing to show", "\(other) has nothing that \(base) has not.") : ChangePages.table(rows))\(Layout.more(here.with("path", path.isEmpty ? nil : path).with("after", page.items.last?.path), page.hasMore, visit))</div>
            \(try isThreeDot && counts.all > 0 ? mergeForm(visit, base, other, counts) : nil)
            """)
    }

    private static func pickers(_ visit: Visit, _ base: String, _ other: String) -> HTML {
        """
        <form class="bar picker" method="get" data-picker="\(Link(visit.repository, "refs"))"><label><span>Base</span> <input name="ref" value="\(base)" list="refs" spellcheck="false" autocapitalize="off"></label> <span aria-hidden="true">←</span> <label><span>Compared with</span> <input name="compare" value="\(other)" list="refs" spellcheck="false" autocapitalize="off"></label><datalist id="refs"></datalist><button>Compare</button>
        \(other.isEmpty ? nil : "<a class=\"button\" href=\"\(Link(visit.repository, "compare", query: ["ref": Key(other), "compare": Key(base)]))\">Swap</a>" as HTML)</form>
        """
    }

    /// The form that merges; conflicts are named in it, each with a choice.
    static func mergeForm(_ visit: Visit, _ base: String, _ other: String, _ counts: ChangePages.Counts) throws -> HTML?
    {
        let id = visit.repository
        guard visit.may(.mergeIntoBranch, [.repository: id.text, .sourceRef: other, .destinationBranch: base]),
            let branch = try visit.catalog.resolve(base, in: id).branch
        else { return nil }
        // Choices are of what was seen, and all of it.
        guard counts.conflicting.count <= mostChoices, counts.conflicting.isEmpty || !counts.hasMore else {
            return
                "<p class=\"note warn\">\(Show.count(counts.conflicting.count, "path", orMore: counts.hasMore)) changed on both sides: too many to choose one by one. Merge a part of them first, or use <code>lakefuse merge --strategy</code>.</p>"
        }
        let conflicts: HTML? =
            counts.conflicting.isEmpty
            ? nil
            : """
            <fieldset><legend>\(Show.count(counts.conflicting.count, "path")) changed on both sides. Choose for each:</legend>
            <table class="cells"><thead><tr><th>Path</th><th>of \(base)</th><th>of \(other)</th></tr></thead><tbody>\(counts.conflicting.enumerated().map { choice($0.offset, $0.element.path, base, other, id) })</tbody></table></fieldset>
            """
        let source = try visit.catalog.resolve(other, in: id).commitID
        return """
            <form method="post" action="\(Link(id, "merge"))" class="card" id="merge"><h2>Merge \(other) into \(base)</h2>\(Layout.token(visit))<input type="hidden" name="ref" value="\(base)"><input type="hidden" name="compare" value="\(other)"><input type="hidden" name="base_commit" value="\(branch.commitID)"><input type="hidden" name="source_commit" value="\(source)">\(conflicts)
            <label>Message <input name="message" value="Merge \(other) into \(base)"></label>
            <details><summary>More</summary><label class="check"><input type="checkbox" name="squash"> Squash: one commit without the other's history</label>
            \(conflicts == nil ? "<label>Where both changed the same meanwhile <select name=\"strategy\"><option value=\"\">refuse</option><option value=\"dest-wins\">keep what is here</option><option value=\"source-wins\">take what comes</option></select></label>" as HTML : nil)
            <label>Metadata, one <code>name=value</code> a line <textarea name="metadata" rows="2" spellcheck="false"></textarea></label></details>
            <button class="primary">Merge</button></form>
            """
    }

    private static func choice(_ index: Int, _ path: Key, _ base: String, _ other: String, _ id: RepositoryID) -> HTML {
        let link = Link(id, "diff", query: ["left": Key(base), "right": Key(other), "path": path])
        return """
            <tr><th scope="row"><a href="\(link)">\(Show.name(path))</a><input type="hidden" name="path\(index)" value="\(URIEncoding.encode(path.bytes))"></th><td><label><input type="radio" name="choice\(index)" value="here" required> keep</label></td><td><label><input type="radio" name="choice\(index)" value="there"> take</label></td></tr>
            """
    }

    private static func merge(_ visit: Visit) throws -> Response {
        let id = visit.repository
        let (base, other) = (visit.field("ref"), visit.field("compare"))
        let names: Visit.Names = [.repository: id.text, .sourceRef: other, .destinationBranch: base]
        guard visit.may(.mergeIntoBranch, names) else {
            throw PageError(403, "insufficient permissions: not allowed to fs:CreateCommit")
        }
        let fields = Dictionary(visit.form.map { ($0.name, $0.value) }) { first, _ in first }
        var choices: [(path: Key, takes: Bool)] = []
        while choices.count < mostChoices,
            let path = fields["path\(choices.count)"].map({ Key(URIEncoding.decode($0)) })
        {
            guard let choice = fields["choice\(choices.count)"] else {
                throw PageError(400, "\(path): both sides changed it, and nothing is chosen: keep or take.")
            }
            choices.append((path, choice == "there"))
        }
        let request = API.Merge(
            message: visit.field("message"), metadata: try visit.pairs("metadata"), strategy: visit.field("strategy"),
            allowEmpty: !choices.isEmpty, squashMerge: visit.isChecked("squash"))
        let made: API.MergeResult =
            choices.isEmpty
            ? try visit.get(.mergeIntoBranch, names, body: request)
            : try mergeChosen(visit, base, choices, request)
        return visit.see(Link(id, "commits", made.reference), note: "Merged \(other) into \(base).")
    }

    /// Merges by what was chosen, path by path, with nothing decided that nobody saw: on a branch of its own, from the
    /// commits that were looked at, and from there into the base, where what changed meanwhile is a conflict again.
    private static func mergeChosen(
        _ visit: Visit, _ base: String, _ choices: [(path: Key, takes: Bool)], _ request: API.Merge
    ) throws
        -> API.MergeResult
    {
        let id = visit.repository
        let source = visit.field("source_commit")
        guard try visit.catalog.resolve(visit.field("compare"), in: id).commitID.text == source else {
            throw PageError(409, "\(visit.field("compare")) has moved on since you looked: look again, then choose.")
        }
        let aside = "merge-\(XID.make())"
        let onAside: Visit.Names = [.repository: id.text, .branch: aside]
        try visit.answer(
            .createBranch, [.repository: id.text],
            body: API.BranchCreation(name: aside, source: visit.field("base_commit"), hidden: true))
        defer {
            // It is hidden, and of no use to anybody: what is left of it does no harm.
            _ = try? visit.answer(.deleteBranch, onAside, ["force": "true"])
        }
        // What is in conflict is what was chosen for, or nothing is done.
        let onto: Visit.Names = [.repository: id.text, .sourceRef: source, .destinationBranch: aside]
        do { try visit.answer(.mergeIntoBranch, onto, body: API.Merge(strategy: "")) } catch let error as PageError
            where error.status == 409
        {
            let known = Set(choices.map(\.path.description))
            if let unseen = error.conflicts.first(where: { !known.contains($0) }) {
                throw PageError(
                    409, "\(unseen) is in conflict too, and nothing is chosen for it: look again, then choose.")
            }
        }
        var whole = request
        whole.strategy = "dest-wins"
        try visit.answer(.mergeIntoBranch, onto, body: whole)
        for choice in choices where choice.takes {
            if let taken = try ObjectFile.find(choice.path, at: source, visit) {
                guard String(validating: choice.path.bytes, as: UTF8.self) != nil else {
                    throw PageError(400, "\(choice.path) is no UTF-8: such a path can only be kept here.")
                }
                try visit.answer(
                    .copyObject, onAside, ["dest_path": choice.path],
                    body: API.ObjectCopyCreation(srcPath: taken.path.description, srcRef: source, shallow: true))
            } else {
                try visit.answer(.deleteObject, onAside, ["path": choice.path])
            }
        }
        if choices.contains(where: \.takes) {
            try visit.answer(
                .commit, onAside,
                body: API.CommitCreation(message: "Choices: \(request.message ?? "")", allowEmpty: true))
        }
        return try visit.get(
            .mergeIntoBranch, [.repository: id.text, .sourceRef: aside, .destinationBranch: base],
            body: API.Merge(
                message: request.message, metadata: request.metadata, strategy: "", allowEmpty: true,
                squashMerge: request.squashMerge))
    }
}
