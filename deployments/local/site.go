package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/demo"
	"techtalks.example/deployments/source"
)

// site holds the paths, addresses and options of one TechTalks site on this machine.
type site struct {
	root   string // of the source tree
	runDir string // RUN_DIR

	web, webAdmin, logic, logicAdmin, data string // addresses
	engine                                 engine
	demo                                   bool
}

// newSite returns the site that the environment describes.
func newSite() (site, error) {
	root, err := source.Tree()
	if err != nil {
		return site{}, err
	}
	runDir, err := filepath.Abs(cmp.Or(os.Getenv("RUN_DIR"), filepath.Join(root, ".run")))
	if err != nil {
		return site{}, err
	}
	engine, err := newEngine()
	if err != nil {
		return site{}, err
	}
	web := cmp.Or(os.Getenv("WEB_ADDRESS"), "127.0.0.1:8080")
	demo, err := isDemo(os.Getenv("DEMO"), web)
	if err != nil {
		return site{}, err
	}
	return site{
		root: root, runDir: runDir, demo: demo,
		web:        web,
		webAdmin:   cmp.Or(os.Getenv("WEB_ADMIN_ADDRESS"), "127.0.0.1:8081"),
		logic:      cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"),
		logicAdmin: cmp.Or(os.Getenv("LOGIC_ADMIN_ADDRESS"), "127.0.0.1:9091"),
		data:       cmp.Or(os.Getenv("DATA_ADDRESS"), "127.0.0.1:54320"),
		engine:     engine,
	}, nil
}

// isDemo reports whether the site has the demo accounts, whose passwords are published.
// setting is the value of DEMO. If it is empty, the site is a demo when only browsers on
// this machine can reach it.
func isDemo(setting, web string) (bool, error) {
	if setting != "" {
		demo, err := strconv.ParseBool(setting)
		if err != nil {
			return false, fmt.Errorf("DEMO: use true or false: %w", err)
		}
		return demo, nil
	}
	host, _, err := net.SplitHostPort(web)
	if err != nil {
		return false, fmt.Errorf("WEB_ADDRESS: use host:port: %w", err)
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback(), nil
}

func (s site) certificates() string { return filepath.Join(s.runDir, "certificates") }

func (s site) binary(name string) string { return filepath.Join(s.runDir, "bin", name) }

// checkAddresses returns an error that names the setting to change if another program
// listens on one of the site's addresses.
func (s site) checkAddresses() error {
	type setting struct{ name, address string }
	settings := []setting{
		{"WEB_ADDRESS", s.web}, {"WEB_ADMIN_ADDRESS", s.webAdmin},
		{"LOGIC_ADDRESS", s.logic}, {"LOGIC_ADMIN_ADDRESS", s.logicAdmin}, {"DATA_ADDRESS", s.data},
	}
	if s.engine.local {
		settings = append(settings, setting{"BROKER_ADDRESS", s.engine.address})
	}
	for _, setting := range settings {
		listener, err := net.Listen("tcp", setting.address)
		if err != nil {
			return fmt.Errorf("%s is not available: %w; stop the program that listens there, or set %s=host:port", setting.address, err, setting.name)
		}
		_ = listener.Close()
	}
	return nil
}

// run builds and starts the site, and stops it when ctx is done.
func run(ctx context.Context) error {
	s, err := newSite()
	if err != nil {
		return err
	}
	if err := s.checkAddresses(); err != nil {
		return err
	}
	began := time.Now()
	fmt.Print("Starting TechTalks\n\n")
	if err := step("Build the tiers", func() error {
		return source.Build(ctx, s.root, filepath.Join(s.runDir, "bin"), source.DataTier, source.LogicTier, source.Talksctl, source.WebTier)
	}); err != nil {
		return err
	}
	if err := step("Issue certificates", func() error {
		_, err := certificates.Issue(s.certificates(), nil)
		return err
	}); err != nil {
		return err
	}
	// In start order: a server before its clients. They stop in reverse.
	processes := []*process{s.dataTier()}
	if s.engine.local {
		node, err := s.node()
		if err != nil {
			return err
		}
		processes = append(processes, s.brokerProcesses(node)...)
	}
	processes = append(processes, s.logicTier(), s.webTier())
	defer func() {
		fmt.Println("\nStopping TechTalks")
		for _, p := range slices.Backward(processes) {
			p.stop()
		}
		fmt.Println("Stopped. Data and logs are kept in", s.runDir)
	}()
	if err := s.start(ctx, processes); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	fmt.Printf("\nTechTalks is up: http://%s (started in %.1f s)\n\n", s.web, time.Since(began).Seconds())
	if s.demo {
		role := "channel owner and operator"
		if os.Getenv("OPERATORS") != "" {
			role = "channel owner"
		}
		fmt.Println("  Sign in  ada (password ada-ada-ada),", role)
		fmt.Println("           grace (password grace-grace-grace), follower")
	}
	fmt.Println("  Queue   ", s.engine.name())
	fmt.Println("  Logs    ", filepath.Join(s.runDir, "logs"))
	fmt.Println("  Data    ", filepath.Join(s.runDir, "data"))
	fmt.Print("\nPress Ctrl-C to stop.\n\n")
	// Tests that do not need the recordings set DEMO_RECORDINGS=false, to save processor time.
	if s.demo && os.Getenv("DEMO_RECORDINGS") != "false" {
		if err := demo.LoadRecordings(ctx, s.logic, s.certificates()); err != nil && ctx.Err() == nil {
			fmt.Println("Some demo recordings were not uploaded; the next start tries again:", err)
		}
	}
	<-ctx.Done()
	return nil
}

// start starts the processes in order. It creates the demo accounts, or checks that they do
// not exist, before the last process, the web tier: a site that is not a demo must never
// expose accounts with published passwords to browsers.
func (s site) start(ctx context.Context, processes []*process) error {
	for i, p := range processes {
		if i == len(processes)-1 {
			name := "Check that no demo account exists"
			if s.demo {
				name = "Load the demo accounts and catalogue"
			}
			if err := step(name, func() error { return s.prepareDemo(ctx) }); err != nil {
				return err
			}
		}
		if err := step("Start "+p.name+" on "+p.address, func() error { return p.start(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (s site) prepareDemo(ctx context.Context) error {
	if !s.demo {
		return demo.CheckAbsent(ctx, s.logic, s.certificates())
	}
	return demo.Load(ctx, s.binary("talksctl"), s.logic, s.certificates(), filepath.Join(s.root, "deployments", "demo", "catalogue"))
}

// step calls do and prints a line with the step's name and duration.
func step(name string, do func() error) error {
	began := time.Now()
	fmt.Printf("  %-44s", name)
	if err := do(); err != nil {
		fmt.Println("  failed")
		return err
	}
	fmt.Printf(" %6.1f s\n", time.Since(began).Seconds())
	return nil
}
