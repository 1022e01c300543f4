// A TCG plugin for QEMU that counts executed guest instructions, whatever the number of threads.
// The three prototypes below are all it needs of qemu-plugin.h, which few distributions package.

#include <stdint.h>
#include <stdio.h>

typedef uint64_t qemu_plugin_id_t;
struct qemu_plugin_tb;
typedef void (*tb_trans)(qemu_plugin_id_t, struct qemu_plugin_tb*);
typedef void (*tb_exec)(unsigned int, void*);
typedef void (*at_exit)(qemu_plugin_id_t, void*);

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb*);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, tb_trans);
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb*, tb_exec, int flags, void*);
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, at_exit, void*);
void qemu_plugin_outs(const char*);

__attribute__((visibility("default"))) int qemu_plugin_version = QEMU_PLUGIN_VERSION;

static uint64_t executed;

static void count(unsigned int cpu, void* instructions) {
  (void)cpu;
  __atomic_fetch_add(&executed, (uint64_t)(uintptr_t)instructions, __ATOMIC_RELAXED);
}

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb* block) {
  (void)id;
  void* instructions = (void*)(uintptr_t)qemu_plugin_tb_n_insns(block);
  qemu_plugin_register_vcpu_tb_exec_cb(block, count, 0, instructions);
}

static void finished(qemu_plugin_id_t id, void* unused) {
  (void)id, (void)unused;
  char line[64];
  snprintf(line, sizeof line, "instructions %llu\n", (unsigned long long)executed);
  qemu_plugin_outs(line);
}

__attribute__((visibility("default"))) int qemu_plugin_install(
    qemu_plugin_id_t id, const void* info, int argc, char** argv) {
  (void)info, (void)argc, (void)argv;
  qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
  qemu_plugin_register_atexit_cb(id, finished, 0);
  return 0;
}
