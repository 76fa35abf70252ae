import Foundations
import Glibc
import Versioning

/// One setting: its name, how it is read from text, and how it is shown.
struct Setting: Sendable {
    let key: String
    /// A secret is never shown.
    let isSecret: Bool
    let show: @Sendable (Configuration) -> String
    /// Throws a reason why a text is no value, to follow the text.
    let set: @Sendable (inout Configuration, String) throws(Reason) -> Void

    struct Reason: Error { let text: String }
    typealias Place<Value> = any WritableKeyPath<Configuration, Value> & Sendable

    /// What the environment calls it, behind `LAKEFUSE_` or `LAKEFS_`.
    var environmentName: String { key.uppercased().split(separator: ".").joined(separator: "_") }

    static func text(_ key: String, _ path: Place<String>) -> Setting {
        Setting(key: key, isSecret: false, show: { $0[keyPath: path] }, set: { $0[keyPath: path] = $1 })
    }

    static func secret(_ key: String, _ path: Place<String>) -> Setting {
        Setting(key: key, isSecret: true, show: { $0[keyPath: path] }, set: { $0[keyPath: path] = $1 })
    }

    /// Texts, with commas between them.
    static func list(_ key: String, _ path: Place<[String]>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { $0[keyPath: path].joined(separator: ",") },
            set: { $0[keyPath: path] = $1.split(separator: ",").map { String($0.trimmed) } })
    }

    static func flag(_ key: String, _ path: Place<Bool>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { $0[keyPath: path] ? "true" : "false" },
            set: { configuration, value throws(Reason) in
                guard value == "true" || value == "false" else { throw Reason(text: "is not known: true, false are") }
                configuration[keyPath: path] = value == "true"
            })
    }

    /// A whole number. What is more than `most` counts as that.
    static func number<Number: FixedWidthInteger & Sendable>(
        _ key: String, _ path: Place<Number>, _ least: Number = 0,
        most: Number = .max
    ) -> Setting {
        Setting(
            key: key, isSecret: false, show: { "\($0[keyPath: path])" },
            set: { configuration, value throws(Reason) in
                guard let number = Number(value), number >= least else {
                    throw Reason(text: "is not a number of at least \(least)")
                }
                configuration[keyPath: path] = min(number, most)
            })
    }

    /// One of a few words.
    static func choice(_ key: String, _ path: Place<String>, _ words: [String])
        -> Setting
    {
        Setting(
            key: key, isSecret: false, show: { $0[keyPath: path] },
            set: { configuration, value throws(Reason) in
                guard words.contains(value) else {
                    throw Reason(text: "is not known: \(words.joined(separator: ", ")) are")
                }
                configuration[keyPath: path] = value
            })
    }

    static func level(_ key: String, _ path: Place<Log.Level>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { "\($0[keyPath: path])" },
            set: { configuration, value throws(Reason) in
                guard let level = Log.Level(name: value) else {
                    throw Reason(text: "is not known: trace, debug, info, warn, error, none are")
                }
                configuration[keyPath: path] = level
            })
    }

    /// An address of another server; empty for none.
    static func address(_ key: String, _ path: Place<String>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { $0[keyPath: path] },
            set: { configuration, value throws(Reason) in
                guard value.isEmpty || value.hasPrefix("http://") || value.hasPrefix("https://") else {
                    throw Reason(text: "is no address: http://HOST:PORT is one")
                }
                configuration[keyPath: path] = value
            })
    }

    /// A time as Go writes it: 90s, 1h30m; kept in seconds.
    static func duration(_ key: String, _ path: Place<Int64>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { "\($0[keyPath: path])s" },
            set: { configuration, value throws(Reason) in
                guard let seconds = Self.seconds(value), seconds > 0 else {
                    throw Reason(text: "is no duration of a second or more: 90s and 1h30m are")
                }
                configuration[keyPath: path] = seconds
            })
    }

    /// As `duration`, and 0 for what the other side has as its default.
    static func time(_ key: String, _ path: Place<Int64>) -> Setting {
        Setting(
            key: key, isSecret: false, show: { "\($0[keyPath: path])s" },
            set: { configuration, value throws(Reason) in
                guard let seconds = Self.seconds(value), seconds >= 0 else {
                    throw Reason(text: "is no duration: 0s, 90s and 1h30m are")
                }
                configuration[keyPath: path] = seconds
            })
    }

    /// Whole seconds of a duration as Go writes it; nil for what is none.
    static func seconds(_ text: String) -> Int64? {
        guard let milliseconds = GoDuration.milliseconds(text), milliseconds < 1e18 else { return nil }
        return Int64(milliseconds / 1000)
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        let head = drop { $0 == " " }
        return head.dropLast(head.reversed().prefix { $0 == " " }.count)
    }
}

extension Setting {
    /// lakeFS's settings that mean nothing here, as beginnings of their names: accepted, so that its configuration need
    /// not be taken apart, and told once. Source: `lakefs-behaviour.md` and the settings that lakeFS logs at its start.
    static let passedOver = [
        // Other engines of metadata and data, and what is peculiar to lakeFS's own.
        "database.local.", "database.drop_tables", "database.postgres.metrics", "database.postgres.scan_page_size",
        "database.dynamodb.credentials_cache_expiry_window", "database.dynamodb.health_check_interval",
        "database.dynamodb.max_connections", "database.cosmosdb.throughput", "database.cosmosdb.autoscale",
        "blockstore.gs.data_credentials_", "blockstore.gs.server_side_encryption_customer_supplied",
        "blockstore.local.import_hidden",
        // Caches, tables and batches are made otherwise.
        "committed.block_storage_prefix", "committed.local_cache.max_uploaders_per_writer",
        "committed.local_cache.metarange_proportion", "committed.local_cache.range_proportion", "graveler.", "ugc.",
        "auth.cache.",
        // An authorisation service of its own, the single sign-on of its paid edition.
        "auth.api.", "auth.authentication_api.", "auth.cookie_auth_verification.", "auth.logout_redirect_url",
        "auth.ui_config.rbac", "auth.ui_config.login_url", "auth.ui_config.logout_url",
        "auth.ui_config.login_cookie_names", "auth.ui_config.use_login_placeholders", "features.",
        // Nothing is told to anybody, and no newer version is looked for.
        "stats.", "security.", "email_subscription.", "usage_report.", "installation.fixed_id",
        "installation.allow_inter_region_storage", "gateways.s3.verify_unsupported", "logging.trace_request_headers",
        "ui.",
    ]
}
