import LakeTestSupport
import Versioning

@testable import LakeLocalServer

/// The doors of a lake in memory, without a socket.
struct TestDoors {
    let access: Access
    let server: Server

    init(_ lake: MemoryLake) {
        access = Access(store: lake.store, secretKey: "s")
        let login = Login(access: access, secretKey: "s")
        let budget = MemoryBudget(limitBytes: 64 << 20)
        var settings = ServerSettings(signingSecret: "s")
        settings.stores[0].scheme = "mem"
        server = Server(
            rest: REST(
                catalog: lake.catalog, access: access, login: login, settings: settings, mounts: nil, budget: budget,
                outside: OutsideCalls()),
            gateway: S3Gateway(
                catalog: lake.catalog, access: access, login: login, settings: settings, budget: budget),
            access: access)
    }
}
