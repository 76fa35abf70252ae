import Foundations

/// The groups that every lake begins with, and what they may do. Source: lakeFS's documentation, "Role-Based Access
/// Control", preconfigured groups and policies.
enum StockGroup: String, CaseIterable {
    case administrators = "Admins", superUsers = "SuperUsers", developers = "Developers", viewers = "Viewers"

    private static func allow(_ name: String, _ actions: [String], _ resource: String = "*") -> Policy {
        Policy(name: name, statements: [Statement(effect: "allow", actions: actions, resource: resource)])
    }

    private static var fullAccess: Policy { allow("FSFullAccess", ["fs:*"]) }
    private static var readWrite: Policy {
        allow(
            "FSReadWriteAll",
            [
                "fs:List*", "fs:Read*", "fs:WriteObject", "fs:DeleteObject", "fs:CreateCommit", "fs:RevertBranch",
                "fs:CreateBranch", "fs:DeleteBranch", "fs:CreateTag", "fs:DeleteTag",
            ])
    }
    private static var readAll: Policy { allow("FSReadAll", ["fs:List*", "fs:Read*"]) }
    private static var users: Policy { allow("AuthFullAccess", ["auth:*"]) }
    private static var ownCredentials: Policy {
        allow(
            "AuthManageOwnCredentials",
            ["auth:CreateCredentials", "auth:DeleteCredentials", "auth:ListCredentials", "auth:ReadCredentials"],
            "arn:lakefs:auth:::user/${user}")
    }
    private static var management: Policy {
        allow("RepoManagementFullAccess", ["ci:*", "retention:*", "branches:*", "fs:ReadConfig"])
    }
    private static var managementReading: Policy {
        allow("RepoManagementReadAll", ["ci:Read*", "retention:Get*", "branches:Get*", "fs:ReadConfig"])
    }
    private static var pulls: Policy { allow("PRReadWriteAll", ["pr:*"]) }
    private static var tables: Policy { allow("CatalogReadWriteAll", ["catalog:*"]) }
    private static var tablesReading: Policy {
        allow("CatalogReadAll", ["catalog:List*", "catalog:Get*", "catalog:Read*"])
    }

    var policies: [Policy] {
        switch self {
        case .administrators: [Self.fullAccess, Self.users, Self.management, Self.pulls, Self.tables]
        case .superUsers:
            [Self.fullAccess, Self.ownCredentials, Self.managementReading, Self.pulls, Self.tables]
        case .developers: [Self.readWrite, Self.ownCredentials, Self.managementReading, Self.pulls, Self.tables]
        case .viewers: [Self.readAll, Self.ownCredentials, Self.tablesReading]
        }
    }

    /// The records that attach its policies to a group, itself or another.
    func links(as group: String? = nil) -> [Mutation] {
        let links = Access.Links.groupPolicies
        return policies.map {
            .set(Access.auth, links.key(of: Key(group ?? rawValue), to: $0.name), links.record(to: $0.name))
        }
    }

    /// All there is of the group, its policies too.
    var records: [Mutation] {
        [.set(Access.auth, Access.Kind.group.key(rawValue), Group(name: rawValue).encoded)]
            + policies.map { .set(Access.auth, Access.Kind.policy.key($0.name), $0.encoded) } + links()
    }
}
