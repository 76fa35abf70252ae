import Foundations

/// A few files to look around in: what a repository begins with when sample data is asked for.
enum SampleData {
    static let files: [(path: Key, contentType: String, text: String)] = [
        (
            "README.md", "text/markdown",
            """
            # A first lake

            This repository came with sample data. Some things to try:

            - read: `lakefuse fs cat lakefs://<repository>/main/data/lakes.csv`, or the same path over S3
            - change: upload something to a branch of your own, look at the diff, commit, merge
            - protected: the default branch takes changes by merge only (Settings, branch protection)

            """
        ),
        (
            "data/lakes.csv", "text/csv",
            """
            name,country,area_km2,depth_m
            Caspian Sea,several,371000,1025
            Superior,several,82100,406
            Victoria,several,68870,84
            Huron,several,59600,229
            Tanganyika,several,32900,1470
            Baikal,Russia,31722,1642
            Great Bear,Canada,31153,446
            Malawi,several,29600,706
            Ladoga,Russia,17700,230
            Onega,Russia,9894,127

            """
        ),
        ("data/visits/year=2025/month=01/visits.csv", "text/csv", "lake,visitors\nBaikal,1200\nOnega,310\n"),
        (
            "data/visits/year=2025/month=02/visits.csv", "text/csv",
            "lake,visitors\nBaikal,1340\nLadoga,920\nOnega,285\n"
        ),
        (
            "images/lake.svg", "image/svg+xml",
            """
            <svg xmlns="http://www.w3.org/2000/svg" width="120" height="80"><rect width="120" height="80" fill="#cfe8ff"/><ellipse cx="60" cy="50" rx="50" ry="20" fill="#2f7fc1"/></svg>

            """
        ),
    ]
}

extension Catalog {
    /// Puts the sample data on the default branch, commits it, and protects the branch.
    package func addSampleData(to repositoryID: RepositoryID, committer: String) throws {
        let repository = try writableRepository(repositoryID, force: false)
        let branch = repository.defaultBranch
        for file in SampleData.files {
            let upload = try beginUpload(
                to: file.path, on: branch, in: repositoryID, UploadFacts(contentType: file.contentType))
            try unsafe Array(file.text.utf8).withUnsafeBytes { unsafe try upload.write($0) }
            try upload.commit()
        }
        _ = try commit(CommitRequest(committer: committer, message: "Add sample data"), on: branch, in: repositoryID)
        try setProtectionRules([ProtectionRule(pattern: branch.text)], in: repositoryID, ifChecksum: nil)
    }
}
