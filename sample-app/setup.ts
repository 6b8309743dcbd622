import type { NestExpressApplication } from '@nestjs/platform-express';
import { WsAdapter } from '@nestjs/platform-ws';
import { DocumentBuilder, SwaggerModule } from '@nestjs/swagger';

/** What the app needs beside its modules, before it listens. */
export function setUp(app: NestExpressApplication): void {
  // The addresses of the proxies in front, or Express's names for them. Never `true`: then clients choose their own.
  app.set('trust proxy', process.env.TRUST_PROXY || false);
  app.useWebSocketAdapter(new WsAdapter(app));
  const description = new DocumentBuilder().setTitle('The sample app of nest-rate-limit').build();
  SwaggerModule.setup('openapi', app, () => SwaggerModule.createDocument(app, description), {
    ui: false,
    raw: ['json'],
    jsonDocumentUrl: 'openapi.json',
  });
}
