package config_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/snakepit-go/snakepit/config"
)

// valid is the least that a node can be started from.
func valid() config.Config {
	c := config.Default()
	c.Pools[0].Python = "tools.py"
	return c
}

func TestValidateAccepts(t *testing.T) {
	for name, change := range map[string]func(*config.Config){
		"least":             func(*config.Config) {},
		"disk":              func(c *config.Config) { c.Store.Driver, c.Data = config.DriverDisk, "/data" },
		"disk by data":      func(c *config.Config) { c.Data = "/data" },
		"memory":            func(c *config.Config) { c.Store.Driver = config.DriverMemory },
		"IPv6 loopback":     func(c *config.Config) { c.Listen = "[::1]:0" },
		"localhost":         func(c *config.Config) { c.Listen = "localhost:7460" },
		"remote on purpose": func(c *config.Config) { c.Listen, c.AllowRemote = "0.0.0.0:7460", true },
		"no session limit":  func(c *config.Config) { c.Sessions.MaxSessions = -1 },
	} {
		c := valid()
		change(&c)
		if err := c.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestValidateRefuses(t *testing.T) {
	for _, tt := range []struct {
		change func(*config.Config)
		want   string // start of the only problem
	}{
		{func(c *config.Config) { c.Listen = "7460" }, `listen (default): "7460" is not an address`},
		{func(c *config.Config) { c.Listen = "127.0.0.1:http" }, `listen (default): port "http" is not a number`},
		{func(c *config.Config) { c.Listen = ":7460" }, "listen (default): :7460 can be reached from other machines"},
		{func(c *config.Config) { c.Listen = "192.168.1.2:7460" }, "listen (default): 192.168.1.2:7460 can be reached from other machines"},
		{func(c *config.Config) { c.Listen = "[::]:7460" }, "listen (default): [::]:7460 can be reached from other machines"},
		{func(c *config.Config) { c.Store.Driver = "tape" }, `store.driver (default): expected one of memory, disk, got "tape"`},
		{func(c *config.Config) { c.Store.Driver = config.DriverDisk }, "store.driver (default): the disk driver needs a directory"},
		{func(c *config.Config) { c.Store.Driver, c.Data = config.DriverMemory, "/d" }, "store.driver (default): the memory driver would not use the directory /d"},
		{func(c *config.Config) { c.Store.Disk.CacheBytes = 1 }, "store.disk.cache_bytes (default): 1 is too small; use 1MiB or more"},
		{func(c *config.Config) { c.Sessions.DefaultTTL = 0 }, "sessions.default_ttl (default): 0s is too short"},
		{func(c *config.Config) { c.Sessions.MaxSessions = 0 }, "sessions.max_sessions (default): 0 is not a limit"},
		{func(c *config.Config) { c.Sessions.MaxSessions = -2 }, "sessions.max_sessions (default): -2 is not a limit"},
		{func(c *config.Config) { c.Sessions.SweepInterval = 0 }, "sessions.sweep_interval (default): 0s is too short"},
		{func(c *config.Config) { c.Sessions.WarnThreshold = 80 }, "sessions.warn_threshold (default): 80 is not a share"},
		{func(c *config.Config) { c.Sessions.MaxVarsBytes = -1 }, "sessions.max_vars_bytes (default): -1 is too small"},
		{func(c *config.Config) { c.Sessions.CallRetention = 0 }, "sessions.call_retention (default): 0s is too short"},
		{func(c *config.Config) { c.Sessions.MaxCallBytes = 1 }, "sessions.max_call_bytes (default): 1 is too small; use 4KiB or more"},
		{func(c *config.Config) { c.Sessions.MaxPrograms = 0 }, "sessions.max_programs (default): 0 is not a limit"},
		{func(c *config.Config) { c.Sessions.MaxProgramBytes = 0 }, "sessions.max_program_bytes (default): 0 is too small"},
		{func(c *config.Config) { c.Sessions.MaxBytes = -1 }, "sessions.max_bytes (default): -1 is too small"},
		{func(c *config.Config) { c.Sessions.OperationTimeout = 0 }, "sessions.operation_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Pools = nil }, "pools (default): there is no pool"},
		{func(c *config.Config) { c.Pools[0].Name = "" }, "pools[0].name (default): a pool needs a name"},
		{func(c *config.Config) { c.Pools = append(c.Pools, c.Pools[0]) }, `pools[1].name (default): pool pools[0] is already called "default"`},
		{func(c *config.Config) { c.Pools[0].Python = "" }, `pools[0].python (default): pool "default" has no tools; name a Python file or module here or with --python`},
		{func(c *config.Config) { c.Pools[0].Workers = -1 }, "pools[0].workers (default): -1 is not a number of workers"},
		{func(c *config.Config) { c.Pools[0].QueueLimit = 0 }, "pools[0].queue_limit (default): 0 is too small"},
		{func(c *config.Config) { c.Pools[0].QueueTimeout = 0 }, "pools[0].queue_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].CallTimeout = 0 }, "pools[0].call_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].StreamTimeout = 0 }, "pools[0].stream_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].MaxTimeout = -1 }, "pools[0].max_timeout (default): -1ns is negative; use 0 for the default"},
		{func(c *config.Config) { c.Pools[0].MaxTimeout = time.Minute }, "pools[0].max_timeout (default): 1m0s is shorter than the 15m0s that calls have without asking"},
		{func(c *config.Config) { c.Pools[0].StartTimeout = 0 }, "pools[0].start_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].CancelGrace = 0 }, "pools[0].cancel_grace (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].StopGrace = 0 }, "pools[0].stop_grace (default): 0s is too short"},
		{func(c *config.Config) { c.Pools[0].Affinity = "sticky" }, "pools[0].affinity (default): expected one of hint, strict_queue, strict_fail_fast"},
		{func(c *config.Config) { c.Pools[0].Env = map[string]string{"A=B": "c"} }, `pools[0].env (default): "A=B" cannot be the name of a variable`},
		{func(c *config.Config) {
			c.AllowedHosts = []string{"ok.example", "*", "*.ok.example", "http://a.example"}
		}, `allowed_hosts (default): "http://a.example" is not a name`},
		{func(c *config.Config) { c.AllowedHosts = []string{"a.example:80"} }, `allowed_hosts (default): "a.example:80" is not a name`},
		{func(c *config.Config) { c.AllowedHosts = []string{"a*.example"} }, `allowed_hosts (default): "a*.example" is not a name`},
		{func(c *config.Config) { c.AllowedHosts = []string{"*a.example"} }, `allowed_hosts (default): "*a.example" is not a name`},
		{func(c *config.Config) { c.CORSOrigins = []string{"*", "http://a.example:80", "https://a.example/"} }, `cors_origins (default): "https://a.example/" is not an origin`},
		{func(c *config.Config) { c.CORSOrigins = []string{"a.example"} }, `cors_origins (default): "a.example" is not an origin`},
		{func(c *config.Config) { c.Limits.BodyTimeout = 0 }, "limits.body_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Limits.Connections = -1 }, "limits.connections (default): -1 is not a number of connections"},
		{func(c *config.Config) { c.Limits.BytesInWork = 100 << 20 }, "limits.bytes_in_work (default): 100MiB is too small; use 128MiB or more"},
		{func(c *config.Config) { c.Limits.RequestBytes = 10 }, "limits.request_bytes (default): 10 is too small"},
		{func(c *config.Config) { c.Shutdown.DrainTimeout = 0 }, "shutdown.drain_timeout (default): 0s is too short"},
		{func(c *config.Config) { c.Log.Level = "loud" }, "log.level (default): expected one of debug, info, warn, error"},
		{func(c *config.Config) { c.Log.Format = "xml" }, "log.format (default): expected one of text, json"},
	} {
		c := valid()
		tt.change(&c)
		err := c.Validate()
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got  %v\nwant %s", err, tt.want)
		}
	}
}

func TestValidateReportsAllAtOnceWithTheirSource(t *testing.T) {
	c, err := config.Load(config.Source{
		File:  file(t, "pools:\n- name: a\n  workers: -1\n- queue_limit: 0\n"),
		Env:   []string{"SNAKEPIT_STORE_DRIVER=disk"},
		Flags: map[string]string{"listen": "0.0.0.0:1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var starts []string
	for line := range strings.SplitSeq(c.Validate().Error(), "\n") {
		key, _, _ := strings.Cut(line, ": ")
		starts = append(starts, key)
	}
	want := []string{
		"listen (flag --listen)", "store.driver (environment SNAKEPIT_STORE_DRIVER)",
		"pools[0].python (default)", "pools[0].workers (snakepit.yaml:3)",
		"pools[1].name (default)", "pools[1].python (default)", "pools[1].queue_limit (snakepit.yaml:4)",
	}
	if !slices.Equal(starts, want) {
		t.Errorf("problems with\n  %s\nwant\n  %s", strings.Join(starts, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestDerivedValues(t *testing.T) {
	c := config.Default()
	if c.StoreDriver() != config.DriverMemory {
		t.Errorf("without data the driver is %s", c.StoreDriver())
	}
	c.Data = "/d"
	if c.StoreDriver() != config.DriverDisk {
		t.Errorf("with data the driver is %s", c.StoreDriver())
	}
	c.Store.Driver = config.DriverMemory
	if c.StoreDriver() != config.DriverMemory {
		t.Errorf("the driver named is memory, used is %s", c.StoreDriver())
	}
	if c.NodeName() == "" {
		t.Error("a node without a name")
	}
	c.Node = "n1"
	if c.NodeName() != "n1" {
		t.Errorf("node = %q, want the one set", c.NodeName())
	}
	if n := c.Pools[0].WorkerCount(); n < 1 {
		t.Errorf("%d workers by default", n)
	}
	c.Pools[0].Workers = 3
	if n := c.Pools[0].WorkerCount(); n != 3 {
		t.Errorf("%d workers, want the 3 set", n)
	}
}
