import Foundations
import LakeAPI
import Versioning

extension HookEvent {
    /// What a webhook is told. Empty fields are left out. Source: the recorded payloads (`lakefs-behaviour.md` section 5).
    func write(to json: inout JSONWriter, action: String, hook: String, time: Timestamp) {
        func member(_ name: StaticString, _ value: String, _ json: inout JSONWriter) {
            if !value.isEmpty { json.member(name, value) }
        }
        json.object { json in
            json.member("event_type", kind.rawValue)
            json.member("event_time", time.rfc3339)
            member("action_name", action, &json)
            member("hook_id", hook, &json)
            member("repository_id", repository.text, &json)
            member("branch_id", branch.text, &json)
            member("source_ref", sourceRef, &json)
            member("tag_id", tag, &json)
            member("commit_id", commitID.text, &json)
            member("commit_message", message, &json)
            member("committer", committer, &json)
            if !metadata.isEmpty { json.member("commit_metadata", metadata.dictionary) }
            member("merge_source", mergeSource, &json)
        }
    }

    /// The `action` that a script sees. No field is left out.
    func table(action: String, hook: String, namespace: String) -> LuaValue {
        let commit = commit
        let parents = (commit?.parents ?? []).map { LuaValue.text($0.text) }
        return .table([
            "run_id": .text(runID), "pre_run_id": .text(preRunID), "event_type": .text(kind.rawValue),
            "action_name": .text(action), "hook_id": .text(hook),
            "repository_id": .text(repository.text), "storage_namespace": .text(namespace),
            "source_ref": .text(sourceRef), "branch_id": .text(branch.text), "tag_id": .text(tag),
            "commit_id": .text(commitID.text), "merge_source": .text(mergeSource),
            "commit": .table([
                "message": .text(message), "meta_range_id": .text(commit?.metaRangeID ?? ""),
                "creation_date": .text(commit?.creationDate.rfc3339 ?? "0001-01-01T00:00:00Z"),
                "version": .number(Double(commit?.version ?? 0)),
                "metadata": .table(metadata.dictionary.mapValues { .text($0) }), "parents": .list(parents),
            ]),
        ])
    }
}

extension ActionRun {
    /// What is told of a run beside the data: compact JSON. Source: `lakefs-formats.md` 1.3.
    static func manifest(_ run: ActionRun, _ hooks: [HookRun]) -> [UInt8] {
        var json = JSONWriter()
        json.object { json in
            json.name("run")
            json.object { json in
                json.member("run_id", run.id)
                json.member("branch_id", run.branch)
                json.member("source_ref", run.sourceRef)
                json.member("event_type", run.event)
                if !run.commitID.isEmpty { json.member("commit_id", run.commitID) }
                json.member("start_time", run.started.rfc3339Milliseconds)
                json.member("end_time", (run.ended ?? run.started).rfc3339Milliseconds)
                json.member("passed", run.hasPassed)
            }
            guard !hooks.isEmpty else { return }
            json.name("hooks")
            json.array { json in
                for hook in hooks {
                    json.object { json in
                        json.member("run_id", hook.runID)
                        json.member("hook_run_id", hook.id)
                        json.member("hook_id", hook.hookID)
                        json.member("action_name", hook.action)
                        json.member("start_time", hook.started.rfc3339Milliseconds)
                        json.member("end_time", (hook.ended ?? hook.started).rfc3339Milliseconds)
                        json.member("passed", hook.hasPassed)
                    }
                }
            }
        }
        return json.bytes
    }
}
