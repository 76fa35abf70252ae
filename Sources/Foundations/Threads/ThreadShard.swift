import Glibc

/// Which of `count` parts a thread works on, so that threads seldom meet at one.
package func threadShard(of count: Int) -> Int { Int((UInt(pthread_self()) >> 12) % UInt(count)) }
