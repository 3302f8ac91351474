package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"techtalks.example/deployments/certificates"
	"techtalks.example/deployments/demo"
	"techtalks.example/deployments/source"
)

// site is where everything of one TechTalks on this machine is.
type site struct {
	root string // of the source tree
	run  string // RUN_DIR

	web, webAdmin, logic, logicAdmin, data string
	engine                                 engine
	demo                                   bool
}

func newSite() (site, error) {
	root, err := source.Tree()
	if err != nil {
		return site{}, err
	}
	run := cmp.Or(os.Getenv("RUN_DIR"), filepath.Join(root, ".run"))
	if run, err = filepath.Abs(run); err != nil {
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
		root: root, run: run, demo: demo,
		web:        web,
		webAdmin:   cmp.Or(os.Getenv("WEB_ADMIN_ADDRESS"), "127.0.0.1:8081"),
		logic:      cmp.Or(os.Getenv("LOGIC_ADDRESS"), "127.0.0.1:9090"),
		logicAdmin: cmp.Or(os.Getenv("LOGIC_ADMIN_ADDRESS"), "127.0.0.1:9091"),
		data:       cmp.Or(os.Getenv("DATA_ADDRESS"), "127.0.0.1:54320"),
		engine:     engine,
	}, nil
}

// isDemo reports whether a site has the demo accounts, whose passwords everybody
// knows: as DEMO says, or else when browsers of this machine alone reach it.
func isDemo(setting, web string) (bool, error) {
	if setting != "" {
		asked, err := strconv.ParseBool(setting)
		if err != nil {
			return false, fmt.Errorf("DEMO: use true or false: %w", err)
		}
		return asked, nil
	}
	host, _, err := net.SplitHostPort(web)
	if err != nil {
		return false, fmt.Errorf("WEB_ADDRESS: use host:port: %w", err)
	}
	return host == "localhost" || net.ParseIP(host).IsLoopback(), nil
}

func (s site) certificates() string { return filepath.Join(s.run, "certificates") }

func (s site) binary(name string) string { return filepath.Join(s.run, "bin", name) }

// free says which setting to change when an address is taken.
func (s site) free() error {
	addresses := [][2]string{
		{"WEB_ADDRESS", s.web}, {"WEB_ADMIN_ADDRESS", s.webAdmin},
		{"LOGIC_ADDRESS", s.logic}, {"LOGIC_ADMIN_ADDRESS", s.logicAdmin}, {"DATA_ADDRESS", s.data},
	}
	if s.engine.own {
		addresses = append(addresses, [2]string{"BROKER_ADDRESS", s.engine.address})
	}
	for _, one := range addresses {
		listener, err := net.Listen("tcp", one[1])
		if err != nil {
			return fmt.Errorf("%s is taken (%w): stop what runs there, or choose another with %s=host:port", one[1], err, one[0])
		}
		_ = listener.Close()
	}
	return nil
}

// run starts everything, says where it is, and stops everything when ctx ends.
func run(ctx context.Context) error {
	s, err := newSite()
	if err != nil {
		return err
	}
	if err := s.free(); err != nil {
		return err
	}
	began := time.Now()
	if err := step("building the three tiers", func() error {
		return source.Build(ctx, s.root, filepath.Join(s.run, "bin"), source.DataTier, source.LogicTier, source.Talksctl, source.WebTier)
	}); err != nil {
		return err
	}
	if err := step("certificates in "+s.certificates(), func() error {
		_, err := certificates.Issue(s.certificates(), nil)
		return err
	}); err != nil {
		return err
	}
	// Stopped in the opposite order: who asks before who answers.
	tiers := []*tier{s.dataTier()}
	if s.engine.own {
		node, err := s.node()
		if err != nil {
			return err
		}
		tiers = append(tiers, s.brokerTiers(node)...)
	}
	tiers = append(tiers, s.logicTier(), s.webTier())
	defer func() {
		fmt.Println("\nstopping")
		for i := len(tiers) - 1; i >= 0; i-- {
			tiers[i].stop()
		}
		fmt.Println("stopped; everything is kept in", s.run)
	}()
	if err := s.start(ctx, tiers); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if s.demo {
		fmt.Print("\nSign in as ada (password ada-ada-ada) or grace (password grace-grace-grace).")
	}
	fmt.Printf(`
Logs and data are in %s.
TechTalks is up: http://%s (after %.1f s; Ctrl-C stops everything)
`, s.run, s.web, time.Since(began).Seconds())
	// Tests of anything else leave the processors to it.
	if s.demo && os.Getenv("DEMO_RECORDINGS") != "false" {
		if err := demo.LoadRecordings(ctx, s.logic, s.certificates()); err != nil && ctx.Err() == nil {
			fmt.Println("some demo talks have no recording (the next start tries again):", err)
		}
	}
	<-ctx.Done()
	return nil
}

// start starts the tiers in order. The demo accounts are created, or found absent,
// before the last of them, the web tier: browsers never reach accounts with known
// passwords on a site that is no demo.
func (s site) start(ctx context.Context, tiers []*tier) error {
	for i, t := range tiers {
		if i == len(tiers)-1 {
			if err := step("demo", func() error { return s.prepareDemo(ctx) }); err != nil {
				return err
			}
		}
		if err := step(t.name+" on "+t.address, func() error { return t.start(ctx) }); err != nil {
			return err
		}
	}
	return nil
}

func (s site) prepareDemo(ctx context.Context) error {
	if !s.demo {
		return demo.Absent(ctx, s.logic, s.certificates())
	}
	return demo.Load(ctx, s.binary("talksctl"), s.logic, s.certificates(), filepath.Join(s.root, "deployments", "demo", "catalogue"))
}

// step does something and says so in a line.
func step(what string, do func() error) error {
	began := time.Now()
	fmt.Printf("%-60s", what)
	if err := do(); err != nil {
		fmt.Println(" failed")
		return err
	}
	fmt.Printf(" %6.1f s\n", time.Since(began).Seconds())
	return nil
}
