// Runs the models of a bundle on ExecuTorch and says whether their outputs are right and how long
// they take. Reads plan.txt, prints one JSON object. Needs no Python.

#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <iterator>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include <executorch/extension/module/module.h>
#include <executorch/extension/tensor/tensor_ptr.h>

// ExecuTorch's wheel exports these two functions but leaves out the header that declares them.
namespace executorch::extension::threadpool {
class ThreadPool {
 public:
  bool _unsafe_reset_threadpool(uint32_t threads);
};
ThreadPool* get_threadpool();
}  // namespace executorch::extension::threadpool

namespace {

using executorch::extension::Module;

struct Entry {
  std::string name, precision, file, expected;
  double tolerance;
};

struct Plan {
  std::string folder;
  std::vector<int> shape;  // of one input, batch of 1 first
  std::vector<float> images;
  std::vector<int> labels;  // none for a network that does not classify
  int count = 0;            // of the images
  int outputs = 0;          // numbers a model gives for one
  std::vector<Entry> models;
};

struct Options {
  std::string plan, only, json;
  int threads = 1, repeats = 50, warmup = 5, images = -1;
};

[[noreturn]] void fail(const std::string& message) {
  throw std::runtime_error(message);
}

std::vector<float> read_floats(const std::string& path, size_t expected) {
  std::ifstream file(path, std::ios::binary);
  if (!file) fail("cannot read " + path);
  std::vector<char> bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (bytes.size() != expected * sizeof(float)) {
    fail(path + " has " + std::to_string(bytes.size()) + " bytes instead of " +
         std::to_string(expected * sizeof(float)));
  }
  std::vector<float> values(expected);
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

Plan read_plan(const std::string& path) {
  std::ifstream file(path);
  if (!file) fail("cannot read " + path);
  Plan plan;
  const size_t slash = path.rfind('/');
  plan.folder = slash == std::string::npos ? "." : path.substr(0, slash);
  std::string line, key, images;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    if (!(words >> key)) continue;
    if (key == "images") {
      int size;
      words >> images;
      while (words >> size) plan.shape.push_back(size);
    } else if (key == "labels") {
      int label;
      while (words >> label) plan.labels.push_back(label);
    } else if (key == "count") {
      words >> plan.count;
    } else if (key == "outputs") {
      words >> plan.outputs;
    } else if (key == "model") {
      Entry entry;
      if (!(words >> entry.name >> entry.precision >> entry.file >> entry.expected >>
            entry.tolerance)) {
        fail(path + ": cannot understand the line: " + line);
      }
      plan.models.push_back(entry);
    } else {
      fail(path + ": cannot understand the line: " + line);
    }
  }
  const bool labelled = (int)plan.labels.size() == plan.count || plan.labels.empty();
  if (images.empty() || plan.count < 1 || plan.outputs < 1 || plan.models.empty() || !labelled) {
    fail(path + " is incomplete");
  }
  size_t size = plan.count;
  for (int side : plan.shape) size *= side;
  plan.images = read_floats(plan.folder + "/" + images, size);
  return plan;
}

std::vector<float> infer(Module& module, std::vector<float>& image, const std::vector<int>& shape) {
  auto input = executorch::extension::make_tensor_ptr(shape, image.data());
  auto result = module.forward(input);
  if (!result.ok()) fail("the model does not run: error " + std::to_string((int)result.error()));
  std::vector<float> numbers;  // of all outputs, one behind the other
  for (const auto& value : *result) {
    const auto& output = value.toTensor();
    const float* data = output.const_data_ptr<float>();
    numbers.insert(numbers.end(), data, data + output.numel());
  }
  return numbers;
}

double quantile(std::vector<double> sorted, double share) {
  const double place = share * (sorted.size() - 1);
  const size_t below = (size_t)place;
  const size_t above = std::min(below + 1, sorted.size() - 1);
  return sorted[below] + (place - below) * (sorted[above] - sorted[below]);
}

std::string run_model(const Plan& plan, const Entry& entry, const Options& options) {
  // The pool is made with a thread for each core. One thread computes on the caller's.
  executorch::extension::threadpool::get_threadpool()->_unsafe_reset_threadpool(options.threads);
  Module module(plan.folder + "/" + entry.file, Module::LoadMode::Mmap);
  if (module.load_forward() != executorch::runtime::Error::Ok) {
    fail("cannot load " + entry.file);
  }
  size_t size = 1;
  for (int side : plan.shape) size *= side;
  const int count = options.images < 0 ? plan.count : std::min(options.images, plan.count);
  const auto expected =
      read_floats(plan.folder + "/" + entry.expected, (size_t)plan.count * plan.outputs);
  double worst = 0;
  int right = 0;
  for (int i = 0; i < count; ++i) {
    std::vector<float> image(plan.images.begin() + i * size, plan.images.begin() + (i + 1) * size);
    const auto found = infer(module, image, plan.shape);
    if ((int)found.size() != plan.outputs) fail(entry.file + " gives another number of outputs");
    for (int k = 0; k < plan.outputs; ++k) {
      const double error = std::fabs((double)found[k] - expected[(size_t)i * plan.outputs + k]);
      worst = error > worst || std::isnan(error) ? error : worst;
    }
    if (plan.labels.empty()) continue;
    right += std::max_element(found.begin(), found.end()) - found.begin() == plan.labels[i];
  }
  std::vector<float> image(plan.images.begin(), plan.images.begin() + size);
  std::vector<double> times;
  for (int i = 0; i < options.warmup + options.repeats; ++i) {
    const auto start = std::chrono::steady_clock::now();
    infer(module, image, plan.shape);
    const std::chrono::duration<double, std::milli> spent =
        std::chrono::steady_clock::now() - start;
    if (i >= options.warmup) times.push_back(spent.count());
  }
  std::sort(times.begin(), times.end());
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::ostringstream json;
  json.precision(9);
  json << "{\"name\": \"" << entry.name << "\", \"precision\": \"" << entry.precision
       << "\", \"correct\": " << (worst <= entry.tolerance ? "true" : "false")
       << ", \"max_error\": ";
  if (std::isnan(worst)) {
    json << "null";
  } else {
    json << worst;
  }
  json << ", \"tolerance\": " << entry.tolerance << ", \"accuracy\": ";
  if (plan.labels.empty()) {
    json << "null";
  } else {
    json << (double)right / count;
  }
  json << ", \"images\": " << count << ", \"median_ms\": " << quantile(times, 0.5)
       << ", \"p95_ms\": " << quantile(times, 0.95) << ", \"min_ms\": " << times.front()
       << ", \"repeats\": " << options.repeats << ", \"warmup\": " << options.warmup
       << ", \"peak_memory_kb\": " << usage.ru_maxrss << "}";
  return json.str();
}

// Each of several models has a process of its own, so that its peak memory is its own.
std::string run_apart(const Plan& plan, const Entry& entry, const Options& options) {
  int ends[2];
  if (pipe(ends) != 0) fail("cannot open a pipe");
  const pid_t child = fork();
  if (child < 0) fail("cannot start a process");
  if (child == 0) {
    close(ends[0]);
    int status = 0;
    std::string text;
    try {
      text = run_model(plan, entry, options);
    } catch (const std::exception& error) {
      text = error.what();
      status = 1;
    }
    if (write(ends[1], text.data(), text.size()) != (ssize_t)text.size()) status = 1;
    _exit(status);
  }
  close(ends[1]);
  std::string text;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0;) text.append(buffer, got);
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (WIFSIGNALED(status)) {
    fail(entry.name + ": the process was ended by signal " + std::to_string(WTERMSIG(status)));
  }
  if (status != 0) fail(entry.name + ": " + text);
  return text;
}

std::string quoted(const std::string& text) {
  std::string result = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    if ((unsigned char)c >= 0x20) result += c;
  }
  return result + "\"";
}

std::string line_of(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key, 0) == 0) {
      const size_t colon = line.find(": ");
      return colon == std::string::npos ? line : line.substr(colon + 2);
    }
  }
  return "";
}

// ARM cores name themselves by implementer and part in MIDR_EL1, which Linux lets programs read.
std::string processor() {
#if defined(__aarch64__)
  if (getauxval(AT_HWCAP) & HWCAP_CPUID) {
    unsigned long midr;
    asm("mrs %0, MIDR_EL1" : "=r"(midr));
    char text[32];
    std::snprintf(text, sizeof text, "0x%02lx:0x%03lx", midr >> 24 & 0xff, midr >> 4 & 0xfff);
    return text;
  }
#endif
  return line_of("/proc/cpuinfo", "model name");
}

Options parse(int argc, char** argv) {
  Options options;
  // The runner lies in bin/<machine>/ of the bundle.
  const std::string self = argv[0];
  options.plan = self.substr(0, self.rfind('/') + 1) + "../../plan.txt";
  for (int i = 1; i < argc; i += 2) {
    const std::string key = argv[i];
    if (i + 1 == argc) fail("missing value after " + key);
    const std::string value = argv[i + 1];
    if (key == "--plan") options.plan = value;
    else if (key == "--only") options.only = value;
    else if (key == "--json") options.json = value;
    else if (key == "--threads") options.threads = std::atoi(value.c_str());
    else if (key == "--repeats") options.repeats = std::atoi(value.c_str());
    else if (key == "--warmup") options.warmup = std::atoi(value.c_str());
    else if (key == "--images") options.images = std::atoi(value.c_str());
    else fail("unknown option " + key +
              "; there are --plan --only --json --threads --repeats --warmup --images");
  }
  if (options.threads < 1 || options.repeats < 1 || options.warmup < 0 || options.images == 0) {
    fail("--threads, --repeats and --images must be at least 1, --warmup at least 0");
  }
  return options;
}

int run(int argc, char** argv) {
  const Options options = parse(argc, argv);
  const Plan plan = read_plan(options.plan);
  utsname system{};
  uname(&system);
  std::ostringstream json;
  json << "{\"runner\": \"executorch\", \"machine\": " << quoted(system.machine)
       << ", \"system\": " << quoted(std::string(system.sysname) + " " + system.release)
       << ", \"cpu\": " << quoted(processor())
       << ", \"board\": " << quoted(line_of("/proc/device-tree/model", ""))
       << ", \"governor\": "
       << quoted(line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", ""))
       << ", \"threads\": " << options.threads << ", \"models\": [";
  bool first = true;
  for (const Entry& entry : plan.models) {
    if (!options.only.empty() && options.only != entry.name) continue;
    json << (first ? "" : ",\n ")
         << (options.only.empty() ? run_apart : run_model)(plan, entry, options);
    first = false;
  }
  if (first) fail("the plan has no model " + options.only);
  json << "]}\n";
  std::cout << json.str();
  if (!options.json.empty()) {
    std::ofstream file(options.json);
    file << json.str();
    file.flush();
    if (!file) fail("cannot write " + options.json);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& error) {
    std::cerr << "runner: " << error.what() << "\n";
    return 1;
  }
}
