#pragma once
#include <lua5.2/lauxlib.h>
#include <lua5.2/lua.h>
#include <lua5.2/lualib.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/prctl.h>
#include <stddef.h>
#include <sys/syscall.h>

// Of glibc's headers, which would make what else they declare this module's in Swift's eyes.
extern long syscall(long number, ...);
extern void *realloc(void *old, size_t size);
extern void free(void *old);

// Macros that Swift does not see.
static inline double lake_lua_number(lua_State *L, int index) { return lua_tonumber(L, index); }
static inline void lake_lua_pop(lua_State *L, int count) { lua_pop(L, count); }
static inline int lake_lua_call(lua_State *L, int arguments, int results, int handler) { return lua_pcall(L, arguments, results, handler); }
static inline int lake_lua_upvalue(int index) { return lua_upvalueindex(index); }

// Lua raises errors by longjmp(3), which must not pass over Swift's frames: a function in Swift leaves its error on the
// stack and says -1, and it is raised here, when Swift has returned.
typedef int (*lake_lua_function)(lua_State *L);
static int lake_lua_trampoline(lua_State *L) {
    lake_lua_function function = (lake_lua_function)lua_touserdata(L, lua_upvalueindex(2));
    int results = function(L);
    return results < 0 ? lua_error(L) : results;
}
// Takes a value from the stack, which is the function's first upvalue.
static inline void lake_lua_push_function(lua_State *L, lake_lua_function function) {
    lua_pushlightuserdata(L, (void *)function);
    lua_pushcclosure(L, lake_lua_trampoline, 2);
}

// Memory with a bound. What goes past it ends the process by `full`: an error that Lua raised for it would pass over Swift's
// frames, and a script could catch it and go on.
typedef struct {
    size_t used, most;
    void (*full)(void);
} lake_lua_memory;
static void *lake_lua_allocate(void *context, void *old, size_t old_size, size_t size) {
    lake_lua_memory *memory = (lake_lua_memory *)context;
    if (!old) old_size = 0;
    if (!size) {
        memory->used -= old_size;
        free(old);
        return NULL;
    }
    if (size > old_size && memory->used + (size - old_size) > memory->most) memory->full();
    void *result = realloc(old, size);
    if (!result) memory->full();
    memory->used += size - old_size;
    return result;
}
static inline lua_State *lake_lua_open(lake_lua_memory *memory) { return lua_newstate(lake_lua_allocate, memory); }

// The libraries that scripts have.
static inline void lake_lua_libraries(lua_State *L) {
    static const luaL_Reg libraries[] = {
        {"_G", luaopen_base}, {"string", luaopen_string}, {"table", luaopen_table}, {"math", luaopen_math},
        {"bit32", luaopen_bit32}, {"debug", luaopen_debug},
    };
    for (size_t index = 0; index < sizeof(libraries) / sizeof(libraries[0]); index++) {
        luaL_requiref(L, libraries[index].name, libraries[index].func, 1);
        lua_pop(L, 1);
    }
}

// prctl(2) and seccomp(2) are variadic or built of macros.
static inline int lake_die_with_parent(void) { return (int)syscall(__NR_prctl, PR_SET_PDEATHSIG, 9); }
static inline int lake_lua_close_from(unsigned first) { return (int)syscall(__NR_close_range, first, ~0u, 0); }
// From here on the process can only read and write what is open, wait, take memory and end (seccomp(2)).
static inline int lake_confine(void) {
#if defined(__x86_64__)
#define LAKE_ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define LAKE_ARCHITECTURE AUDIT_ARCH_AARCH64
#else
#error "the system calls of this machine are not known here"
#endif
#define LAKE_ALLOW(call) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_##call, 0, 1), BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, LAKE_ARCHITECTURE, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        LAKE_ALLOW(read), LAKE_ALLOW(write), LAKE_ALLOW(sendto), LAKE_ALLOW(exit), LAKE_ALLOW(exit_group), LAKE_ALLOW(brk),
        LAKE_ALLOW(mmap), LAKE_ALLOW(munmap), LAKE_ALLOW(mremap), LAKE_ALLOW(madvise), LAKE_ALLOW(mprotect), LAKE_ALLOW(futex),
        LAKE_ALLOW(clock_gettime), LAKE_ALLOW(clock_nanosleep), LAKE_ALLOW(nanosleep), LAKE_ALLOW(getrandom), LAKE_ALLOW(rt_sigreturn),
        LAKE_ALLOW(gettimeofday), LAKE_ALLOW(getpid), LAKE_ALLOW(gettid),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 1),
    };
#undef LAKE_ALLOW
#undef LAKE_ARCHITECTURE
    struct sock_fprog program = {sizeof(rules) / sizeof(rules[0]), rules};
    if (syscall(__NR_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return -1;
    return (int)syscall(__NR_prctl, PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}
