-- Pktgen-DPDK: the requests of requests.pcap through port 0, at a rate in percent of the line, for a while; then what came
-- back. Started as README.md says; SECONDS and RATE may be set in the environment.
package.path = package.path .. ";?.lua;test/?.lua;app/?.lua;"
require "Pktgen"

local seconds = tonumber(os.getenv("SECONDS") or "10")
local rate = tonumber(os.getenv("RATE") or "100")

pktgen.set("0", "rate", rate)
pktgen.clr()
pktgen.start("0")
pktgen.delay(seconds * 1000)
local rates = pktgen.portStats("0", "rate")[0]
pktgen.stop("0")
pktgen.delay(500)
local port = pktgen.portStats("0", "port")[0]
printf("sent %d, came back %d; in the last second %d/s out, %d/s in\n",
	port.opackets, port.ipackets, rates.pkts_tx, rates.pkts_rx)
pktgen.quit()
