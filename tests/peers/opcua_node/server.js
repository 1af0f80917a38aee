// A plant's OPC UA server, by node-opcua: every security policy, users, values of all kinds, and traps for readers.
// Started by tests/peers/opcua_server.py with one argument, JSON: {port, folder, uri, strict, namespaces, host}.
"use strict";
const path = require("path");
globalThis.crypto ??= require("crypto").webcrypto; // node 18 has it under this name only
const ua = require("node-opcua");

const told = JSON.parse(process.argv[2]);
const PLANT = "http://plant.example/meters";
const { MessageSecurityMode: Mode, SecurityPolicy: Policy, DataType, StatusCodes, VariantArrayType } = ua;

async function main() {
  const certificates = new ua.OPCUACertificateManager({
    rootFolder: path.join(told.folder, "pki"),
    automaticallyAcceptUnknownCertificate: !told.strict,
  });
  await certificates.initialize();
  const server = new ua.OPCUAServer({
    port: told.port,
    hostname: told.host || "127.0.0.1",
    resourcePath: "/plant",
    serverInfo: { applicationUri: told.uri, applicationName: { text: "Plant server" } },
    serverCertificateManager: certificates,
    certificateFile: path.join(told.folder, "server.pem"),
    securityModes: [Mode.None, Mode.Sign, Mode.SignAndEncrypt],
    securityPolicies: [
      Policy.None, Policy.Basic256Sha256, Policy.Aes128_Sha256_RsaOaep, Policy.Aes256_Sha256_RsaPss, Policy.Basic256,
    ],
    allowAnonymous: true,
    userManager: { isValidUser: (name, password) => name === "meter" && password === "secret" },
    maxConnectionsPerEndpoint: 50,
    serverCapabilities: { maxSessions: 50 },
  });
  await server.initialize();
  build(server.engine.addressSpace);
  await server.start();
  console.log("ready " + told.port);
}

function build(space) {
  const own = {};
  for (const uri of told.namespaces || ["http://other.example/things", PLANT]) own[uri] = space.registerNamespace(uri);
  const plant = own[PLANT];
  const meters = plant.addFolder(space.rootFolder.objects, { browseName: "Meters", nodeId: "s=Meters" });
  const press = plant.addObject({ organizedBy: meters, browseName: "Press1", nodeId: "s=Press1" });
  const of = (parent) => (name, dataType, value, more) =>
    plant.addVariable({
      componentOf: parent, browseName: name, nodeId: "s=Press1." + name, dataType, value: { dataType, value }, ...more,
    });
  const add = of(press);
  const analog = (name, dataType, value, unit) =>
    plant.addAnalogDataItem({
      componentOf: press, browseName: name, nodeId: "s=Press1." + name, dataType, value: { dataType, value },
      engineeringUnits: unit, engineeringUnitsRange: { low: 0, high: 1e9 },
    });
  analog("Energy", DataType.Double, 12345.67, ua.makeEUInformation("KWH", "kWh", "kilowatt hour"));
  analog("Power", DataType.Float, 1.5, ua.makeEUInformation("KWT", "kW", "kilowatt"));
  analog("Odd", DataType.Double, 1, ua.makeEUInformation("M50", "fur", "furlong"));
  add("Count", DataType.UInt64, [0x00200000, 1], {
    value: { dataType: DataType.UInt64, arrayType: VariantArrayType.Scalar, value: [0x00200000, 1] }, // 2^53 + 1
  });
  add("Signed", DataType.Int16, -12);
  add("Running", DataType.Boolean, true);
  add("Serial", DataType.String, "PR-2026-0042");
  add("Phases", DataType.Double, [230.1, 231.2, 229.9], {
    valueRank: 1, value: { dataType: DataType.Double, arrayType: VariantArrayType.Array, value: [230.1, 231.2, 229.9] },
  });
  const state = (name, status) =>
    plant.addVariable({
      componentOf: press, browseName: name, nodeId: "s=Press1." + name, dataType: DataType.Double,
      value: { timestamped_get: function () {
        return new ua.DataValue({
          value: { dataType: DataType.Double, value: 7.5 }, statusCode: status,
          sourceTimestamp: new Date(), serverTimestamp: new Date(),
        });
      } },
    });
  state("Broken", StatusCodes.BadSensorFailure);
  state("Doubtful", StatusCodes.UncertainLastUsableValue);
  let reads = 0;
  plant.addVariable({
    componentOf: press, browseName: "Live", nodeId: "s=Press1.Live", dataType: DataType.UInt32,
    value: { get: () => new ua.Variant({ dataType: DataType.UInt32, value: ++reads }) },
  });
  const started = new ua.BuildInfo({ productName: "Press", manufacturerName: "Plant" });
  add("Built", DataType.ExtensionObject, started, { dataType: "BuildInfo" });
  add("\u001b[31mRed\u0007", DataType.Double, 1, { nodeId: "s=Hostile\u001b[2J" });
  press.addReference({ referenceType: "Organizes", nodeId: meters }); // a circle: Press1 holds the folder it lies in
  const many = plant.addFolder(meters, { browseName: "Many", nodeId: "s=Many" });
  for (let n = 0; n < 600; n += 1) {
    plant.addVariable({ componentOf: many, browseName: "Tag" + n, nodeId: "s=Many.Tag" + n, dataType: DataType.Double, value: { dataType: DataType.Double, value: n } });
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
