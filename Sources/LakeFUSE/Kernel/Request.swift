import CFUSE
import Glibc
import Synchronization
import Versioning

extension Operations {
    /// One request, to be answered once.
    @safe struct Request {
        let pointer: fuse_req_t
        let mount: Mount
        var rights: Tree.Rights { mount.rights }
        /// It is made for show: what it asks for was done by others.
        var isHerald: Bool { unsafe mount.herald.asks(pointer) }
        /// Who asks.
        var owner: Tree.Owner {
            let context = unsafe fuse_req_ctx(pointer)!
            return unsafe Tree.Owner(user: context.pointee.uid, group: context.pointee.gid)
        }

        func fail(_ error: any Error) {
            unsafe fuse_reply_err(pointer, Errno(error).number == 0 ? EIO : Errno(error).number)
        }
        func succeed() { unsafe fuse_reply_err(pointer, 0) }

        /// Where a number is, and the moment that what is read from now on is not older than.
        func at(_ number: fuse_ino_t) throws -> Place {
            let (slot, local) = try mount.place(UInt64(number))
            return Place(
                slot: slot, number: local, generation: slot.tree.generation.load(ordering: .sequentiallyConsistent))
        }

        func entry(_ node: Node, _ name: [UInt8], in parent: Place) {
            var parameters = Operations.entry(node, parent.slot)
            unsafe fuse_reply_entry(pointer, &parameters)
            parent.recheck(name)
        }

        func attributes(_ node: Node, _ number: fuse_ino_t, _ slot: Slot) {
            var info = status(slot.tree.facts(node), slot)
            info.st_ino = ino_t(number)
            unsafe fuse_reply_attr(pointer, &info, forever)
        }

        func bytes(_ buffer: UnsafeRawBufferPointer) {
            unsafe fuse_reply_buf(pointer, buffer.assumingMemoryBound(to: CChar.self).baseAddress, buffer.count)
        }
    }

    /// A node of one of the mount's trees.
    struct Place {
        let slot: Slot
        let number: UInt64, generation: UInt64
        var tree: Tree { slot.tree }
        func node() throws -> Node { try tree.node(number) }

        /// A reply about a name may be older than what others did.
        func recheck(_ name: [UInt8]) { tree.recheck(generation, name, in: number) }

        /// The other mounts of the tree are to know what came of a request.
        func tell(_ mount: Mount, _ name: [UInt8], was: Node.Kind? = nil) {
            tree.tell(
                [.name(folder: number, name), .node(number), .event(Event(folder: number, name: name, was: was))],
                except: mount.number)
        }
    }
}
