export const sessionId = "0b5c6a0e-3f63-4d9b-8c43-0c7a3f5e2a11";
export const vmId = "abcdefghij0123456789";

/** What a server says of a session whose VM lives. */
export const sessionAnswer = {
  id: sessionId,
  session_id: sessionId,
  vm_id: vmId,
  status: "active",
  created_at: "2026-01-02T03:04:05Z",
  expires_at: "2026-01-02T03:09:05Z",
  vm_alive: true,
  memory_mb: 512,
  vcpu_count: 2,
  vm_lifetime_seconds: 300,
  metadata: {},
};

/** What a server says of a VM. */
export const vmAnswer = {
  id: vmId,
  vm_id: vmId,
  session_id: sessionId,
  name: null,
  status: "active",
  created_at: "2026-01-02T03:04:05Z",
  expires_at: "2026-01-02T03:09:05Z",
  ended_at: null,
  end_reason: null,
  memory_mb: 512,
  vcpu_count: 2,
  vm_lifetime_seconds: 300,
  metadata: {},
  start: "fork",
  forked_from: null,
  ssh_host: null,
  snapshot_id: null,
  snapshot_name: null,
  snapshot_on_terminate: false,
  auto_suspend: false,
  auto_resume: false,
  image_variant: "standard",
  vault_ids: [],
};

/** What a server says of code that printed 42. */
export const executeAnswer = {
  session_id: sessionId,
  vm_id: vmId,
  language: "python",
  success: true,
  exit_code: 0,
  timed_out: false,
  truncated: false,
  context_lost: false,
  out_of_memory: false,
  execution_time: 0.1,
  cpu_time: 0.1,
  vm_start: null,
  vm_ready_ms: null,
  stdout: "42\n",
  stderr: "",
  output: "42\n",
  results: [],
  error: null,
};
