package import LakeAPI
package import Versioning
package final class MountRegistry: Sendable {
    package init(catalog: Catalog, staging: String) throws {}
    package func mounts() -> [MountMessage] { [] }
    package func mount(_ r: MountMessage) throws {}
    package func unmount(_ d: String) throws {}
    package func stop() {}
}
